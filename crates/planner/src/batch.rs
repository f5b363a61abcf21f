//! Moves into batches that respect how many may run at once.
//!
//! The order of the moves is kept: the worst host is relieved first. The planner books
//! each target before it looks at the next move, and a source is never a target of the
//! same plan, so any split of the list is feasible while guests hold both sides.

use crate::report::PlannedMove;
use crate::{Budget, Policy};

pub(crate) fn into_batches(moves: Vec<PlannedMove>, budget: &Budget) -> Vec<Vec<PlannedMove>> {
    let mut batches: Vec<Vec<PlannedMove>> = Vec::new();
    for step in moves {
        let fits = |batch: &Vec<PlannedMove>| {
            let out = batch.iter().filter(|other| other.step.from == step.step.from).count();
            let into = batch.iter().filter(|other| other.step.to == step.step.to).count();
            batch.len() < budget.max_per_batch
                && out < budget.max_out_per_host
                && into < budget.max_in_per_host
        };
        match batches.last_mut().filter(|batch| fits(batch)) {
            Some(batch) => batch.push(step),
            None => batches.push(vec![step]),
        }
    }
    batches
}

/// Forecast of a move's duration, seconds.
#[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
pub(crate) fn seconds(bytes: u64, policy: &Policy) -> f64 {
    if policy.link > 0.0 { bytes as f64 / policy.link } else { 0.0 }
}
