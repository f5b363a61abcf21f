//! Even out the load of all hosts where that pays.

use drover_model::ClusterView;
use rand::Rng;

use super::{Outcome, repair};
use crate::dense::Dense;
use crate::improve::{Quest, find};
use crate::objective::{even, price_moves};
use crate::search::Limits;
use crate::{Budget, Level, Policy};

pub(crate) fn balance(
    view: &ClusterView,
    policy: &Policy,
    level: Level,
    budget: &Budget,
    rng: &mut impl Rng,
) -> Outcome {
    let Some(price) = level.price() else { return repair(view, policy, budget, rng) };
    let mut dense = Dense::of(view, policy, &|_| true);
    even(&mut dense, view, policy);
    price_moves(&mut dense, view, policy, price);
    let limits = Limits { moves: budget.max_moves, bytes: f64::INFINITY };
    let quest = Quest { view, policy, budget, limits, why: "it evens out the hosts" };
    let start = dense.instance.home.clone();
    let (arranged, _) = find(&mut dense, &start, quest, rng);
    let summary = if arranged.batches.is_empty() {
        format!("balanced: no move earns its cost (score {:.4})", arranged.score.before)
    } else {
        format!(
            "{} move(s): score {:.4} → {:.4}",
            arranged.moves(),
            arranged.score.before,
            arranged.score.after
        )
    };
    arranged.reported(summary)
}
