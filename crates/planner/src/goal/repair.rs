//! Move as few guests as restore every constraint that is broken.

use drover_model::ClusterView;
use rand::Rng;

use super::Outcome;
use crate::dense::Dense;
use crate::improve::{Quest, find};
use crate::objective::price_moves;
use crate::search::Limits;
use crate::{Budget, Policy};

/// Moving every guest once costs so much: more than any preferred wish is likely to.
const PRICE: f64 = 1.0;

pub(crate) fn repair(
    view: &ClusterView,
    policy: &Policy,
    budget: &Budget,
    rng: &mut impl Rng,
) -> Outcome {
    let mut dense = Dense::of(view, policy, &|_| true);
    price_moves(&mut dense, view, policy, PRICE);
    let limits = Limits { moves: budget.max_moves, bytes: f64::INFINITY };
    let quest = Quest { view, policy, budget, limits, why: "it restores a constraint" };
    let start = dense.instance.home.clone();
    let (arranged, _) = find(&mut dense, &start, quest, rng);
    let (before, after) = &arranged.broken;
    let name = |text: &str| text.split(" (").next().unwrap_or_default().to_owned();
    let is_still = |was: &&String| after.iter().any(|is| name(is) == name(was));
    let still = before.iter().filter(is_still).count();
    let summary = match (before.len(), still) {
        (0, _) => "every constraint holds; nothing to do".to_owned(),
        (_, 0) => format!("{} move(s) restore every constraint", arranged.moves()),
        (before, still) => format!(
            "{} move(s): {still} of {before} broken constraint(s) cannot be restored",
            arranged.moves()
        ),
    };
    arranged.reported(summary)
}
