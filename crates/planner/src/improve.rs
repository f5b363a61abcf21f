//! Search, order, and search again around what no order lets through.

use drover_model::{ClusterView, GuestId};
use drover_rules::{Move, Projection, audit};
use rand::{Rng, RngExt as _};

use crate::arrange::{Arranged, arrange};
use crate::dense::Dense;
use crate::search::{Length, Limits, search};
use crate::{Budget, Policy};

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
    let length = Length { stages: quest.budget.effort, cores: quest.budget.cores };
    loop {
        let seed = rng.random();
        let state = search(&dense.instance, &start, quest.limits, length, seed);
        let mut arranged =
            arrange(dense, &state, quest.view, quest.policy, quest.budget, quest.why);
        let at = state.assignment().to_vec();
        // The order keeps capacity and what stays apart; the audit knows every constraint.
        let broken = broken_steps(&arranged, quest);
        if arranged.stuck.is_empty() && broken.is_empty() {
            return (arranged, at);
        }
        if round == AGAIN {
            cut(&mut arranged, quest);
            return (arranged, at);
        }
        for (unit, guests) in dense.units.iter().enumerate() {
            let blocked = |guest| arranged.stuck.contains(guest) || broken.contains(guest);
            if guests.iter().any(blocked) {
                dense.instance.fixed[unit] = true;
                start[unit] = dense.instance.home[unit];
            }
        }
        round += 1;
    }
}

/// Guests whose moves the audit objects to.
fn broken_steps(arranged: &Arranged, quest: Quest<'_>) -> Vec<GuestId> {
    let steps: Vec<Vec<Move>> = arranged
        .batches
        .iter()
        .map(|batch| batch.iter().map(|planned| planned.step).collect())
        .collect();
    let start = Projection::of(quest.view);
    let violations = audit::check_plan(&start, &quest.policy.placement, &steps);
    violations.into_iter().map(|violation| violation.step.guest).collect()
}

/// Leaves out the last batches until the audit is content: what comes first does not depend
/// on them.
fn cut(arranged: &mut Arranged, quest: Quest<'_>) {
    while !broken_steps(arranged, quest).is_empty() {
        let left_out = arranged.batches.pop().unwrap_or_default();
        arranged.stuck.extend(left_out.iter().map(|planned| planned.step.guest));
    }
}
