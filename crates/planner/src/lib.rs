//! One engine for every placement decision:
//! `plan(view, policy, budget, rng) → (Plan, PlanReport)`.
//!
//! Today the search is greedy with exact bookkeeping (`relieve`, `place`); the signature
//! and the report are final. A plan is ordered batches of moves; each batch is feasible
//! while its guests hold resources on both hosts, and `drover_rules::audit` confirms it.
//! The planner knows nothing of libvirt, operations or time beyond `view.at`.

mod batch;
mod candidate;
pub mod consolidate;
mod place;
mod policy;
mod relieve;
mod report;
pub mod search;

use drover_model::ClusterView;
use rand::Rng;

pub use policy::{Budget, Goal, Policy};
pub use report::{HostOutlook, Plan, PlanReport, PlannedMove, RefusedMove};

/// Decides which guests go where.
///
/// `rng` only chooses among targets that are equally good, so that a row of idle hosts is
/// filled evenly. Same arguments and seed, same plan.
pub fn plan(
    view: &ClusterView,
    policy: &Policy,
    budget: &Budget,
    rng: &mut impl Rng,
) -> (Plan, PlanReport) {
    let (moves, report) = match &policy.goal {
        Goal::Relieve { condition, hosts } => {
            relieve::relieve(view, policy, *condition, hosts, budget, rng)
        }
        Goal::Place { guest, to } => place::place(view, policy, *guest, *to, rng),
    };
    (Plan { batches: batch::into_batches(moves, budget) }, report)
}
