//! Search, order, and search again around what no order lets through.

use drover_model::ClusterView;
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
