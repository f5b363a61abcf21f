//! Simulated annealing: the search behind every decision.
//!
//! Shifts, swaps, returns home and exchanges are proposed at random and judged by their
//! exact change of cost. The temperature falls geometrically with what is spent of the
//! allowance, from above the size of a common worsening to far below it. The best
//! assignment seen is kept, so the search may be stopped at any time and never ends worse
//! than it began. Several cores take the best of their ends.

use rand::{Rng, RngExt as _, SeedableRng};

use super::patience::Patience;
use super::state::State;
use super::walk::{Limits, Walk};

/// Trials between two looks at the patience.
const STRETCH: u64 = 512;

/// How the temperature falls, in parts of the median worsening of a random move.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// At the start.
    pub hot: f64,
    /// At the end.
    pub cold: f64,
}

impl Default for Schedule {
    /// From the size of a common worsening to 3 thousandths of it.
    fn default() -> Self {
        Self { hot: 1.0, cold: 3e-3 }
    }
}

/// Improves `state` until patience ends; leaves it at the best assignment found.
pub fn anneal(
    state: &mut State<'_>,
    limits: Limits,
    schedule: Schedule,
    patience: &mut dyn Patience,
    rng: &mut impl Rng,
) {
    let Some(mut walk) = Walk::new(state, limits) else { return };
    let scale = walk.typical_change(rng);
    let (hot, cold) = (scale * schedule.hot, scale * schedule.cold);
    let mut spent = patience.spend(0);
    while spent < 1.0 {
        let temperature = hot * (cold / hot).powf(spent);
        let mut work = 0;
        while work < STRETCH {
            work += walk.trial(temperature, rng);
        }
        spent = patience.spend(work);
    }
    walk.finish();
}

/// [`anneal`] on several cores, each with a seed of its own; the best end is taken, the
/// first of equals. One core is [`anneal`].
pub fn anneal_on_cores<R: Rng + SeedableRng + Send>(
    state: &mut State<'_>,
    limits: Limits,
    schedule: Schedule,
    patience: &mut dyn Patience,
    cores: usize,
    rng: &mut R,
) {
    if cores <= 1 {
        return anneal(state, limits, schedule, patience, rng);
    }
    let seeds: Vec<u64> = (0..cores).map(|_| rng.random()).collect();
    let start: &State<'_> = state;
    let ends: Vec<State<'_>> = std::thread::scope(|scope| {
        let searches: Vec<_> = seeds
            .into_iter()
            .map(|seed| {
                let (mut own, mut patience) = (start.clone(), patience.another());
                scope.spawn(move || {
                    let mut rng = R::seed_from_u64(seed);
                    anneal(&mut own, limits, schedule, patience.as_mut(), &mut rng);
                    own
                })
            })
            .collect();
        // A search that panicked has no end; the others' count.
        searches.into_iter().filter_map(|search| search.join().ok()).collect()
    });
    let best =
        ends.into_iter().reduce(|best, end| if end.cost() < best.cost() { end } else { best });
    if let Some(best) = best {
        state.adopt(best.assignment());
    }
}
