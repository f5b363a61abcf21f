//! The staged search: each stage is twice as long as the one before and starts afresh.

use drover_model::ClusterView;
use rand::{Rng, RngExt as _};
use rand_pcg::Pcg64;

use crate::arrange::{Arranged, arrange};
use crate::dense::Dense;
use crate::search::{Instance, Limits, Schedule, State, Trials, anneal_on_cores};
use crate::{Budget, Policy};

/// Trials of the first stage: so many and so many more for each guest that may move, at most so many.
const FIRST: (u64, u64, u64) = (4_000, 12, 800_000);
/// Stages beyond this change nothing that anyone waits for.
const MOST_EFFORT: u8 = 12;

/// Searches again at most so often when no order of moves leads to what was found.
const AGAIN: u8 = 3;

/// What a search is made for and under.
#[derive(Clone, Copy)]
pub(crate) struct Quest<'a> {
    pub(crate) view: &'a ClusterView,
    pub(crate) policy: &'a Policy,
    pub(crate) budget: &'a Budget,
    pub(crate) limits: Limits,
    /// Why guests move, for the report.
    pub(crate) why: &'a str,
}

/// Searches and arranges the moves. Guests that no order of moves lets through (two that
/// would have to change places with no room anywhere) are told to stay, and the search
/// begins anew: returns what could be arranged, and where everything is then.
pub(crate) fn find(
    dense: &mut Dense,
    start: &[u32],
    quest: Quest<'_>,
    rng: &mut impl Rng,
) -> (Arranged, Vec<u32>) {
    let mut start = start.to_vec();
    let mut round = 0;
    loop {
        let state = improve(&dense.instance, &start, quest.limits, quest.budget, rng);
        let arranged = arrange(dense, &state, quest.view, quest.policy, quest.budget, quest.why);
        let mut at = state.assignment().to_vec();
        if arranged.stuck.is_empty() || round == AGAIN {
            return (arranged, at);
        }
        for (unit, guests) in dense.units.iter().enumerate() {
            if guests.iter().any(|guest| arranged.stuck.contains(guest)) {
                dense.instance.fixed[unit] = true;
                at[unit] = dense.instance.home[unit];
                start[unit] = dense.instance.home[unit];
            }
        }
        round += 1;
    }
}

/// The best assignment that any stage finds. A longer search holds every shorter one, so
/// more effort is never worse.
fn improve<'i>(
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
