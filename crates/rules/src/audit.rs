//! Checks a whole plan, independently of the search that made it.

use crate::{Move, PlacementPolicy, Projection, Refusal, check_movable, check_placement};

/// A move of a plan that breaks a constraint at its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Batch number, from 0.
    pub batch: usize,
    /// The move.
    pub step: Move,
    /// What it breaks.
    pub refusal: Refusal,
}

/// Plays the batches in order: within one batch every guest holds resources on both hosts,
/// after it only on its target. Returns every broken constraint; empty means feasible at
/// every moment.
pub fn check_plan(
    start: &Projection<'_>,
    policy: &PlacementPolicy,
    batches: &[Vec<Move>],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut settled = start.clone();
    for (number, batch) in batches.iter().enumerate() {
        let mut during = settled.clone();
        for step in batch {
            let movable = check_movable(&settled, policy, step.guest);
            let placed = check_placement(&during, policy, step.guest, step.to);
            violations.extend(movable.into_iter().chain(placed).map(|refusal| Violation {
                batch: number,
                step: *step,
                refusal,
            }));
            during.book_target(step.guest, step.to);
        }
        for step in batch {
            settled.book(*step);
        }
    }
    violations
}
