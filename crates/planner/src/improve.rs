//! The staged search: each stage is twice as long as the one before and starts afresh.

use rand::{Rng, RngExt as _};
use rand_pcg::Pcg64;

use crate::Budget;
use crate::search::{Instance, Limits, Schedule, State, Trials, anneal_on_cores};

/// Trials of the first stage: so many and so many more for each guest that may move, at most so many.
const FIRST: (u64, u64, u64) = (4_000, 12, 800_000);
/// Stages beyond this change nothing that anyone waits for.
const MOST_EFFORT: u8 = 12;

/// The best assignment that any stage finds. A longer search holds every shorter one, so
/// more effort is never worse.
pub(crate) fn improve<'i>(
    instance: &'i Instance,
    start: &[u32],
    limits: Limits,
    budget: &Budget,
    rng: &mut impl Rng,
) -> State<'i> {
    let seed: u64 = rng.random();
    let mut best = State::of(instance, start.to_vec());
    let (least, each, most) = FIRST;
    let movable = instance.fixed.iter().filter(|fixed| !**fixed).count();
    let movable = u64::try_from(movable).unwrap_or(u64::MAX);
    let first = (least + each.saturating_mul(movable)).min(most);
    for stage in 0..=budget.effort.min(MOST_EFFORT) {
        let mut state = State::of(instance, start.to_vec());
        let mut own = Pcg64::new(seed.into(), u128::from(stage) + 1);
        let mut patience = Trials::new(first << stage);
        let schedule = Schedule::default();
        anneal_on_cores(&mut state, limits, schedule, &mut patience, budget.cores, &mut own);
        if state.cost() < best.cost() {
            best = state;
        }
    }
    best
}
