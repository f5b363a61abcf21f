//! One engine for every placement decision:
//! `plan(view, policy, budget, rng) → (Plan, PlanReport)`.
//!
//! A plan is ordered batches of moves; each batch is feasible while its guests hold resources on
//! both hosts, and `drover_rules::audit` confirms it. The planner knows nothing of libvirt,
//! operations or time beyond `view.at`.

mod arrange;
mod batch;
mod broken;
mod candidate;
pub mod consolidate;
mod dense;
mod goal;
mod improve;
mod objective;
pub mod pack;
mod place;
mod policy;
pub mod power;
mod relieve;
mod report;
pub mod search;
mod survive;

use drover_model::{ClusterView, Mib, MigrationMode};
use rand::Rng;

pub use goal::{as_if_awake, as_if_running};
pub use policy::{Basis, Budget, Goal, Level, Policy, Resource, Weights};
pub use report::{FrontPoint, HostOutlook, Plan, PlanReport, PlannedMove, RefusedMove, Score};

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
    let (batches, report) = match &policy.goal {
        Goal::Relieve { condition, hosts } => {
            let (moves, report) = relieve::relieve(view, policy, *condition, hosts, budget, rng);
            let hopeless =
                moves.is_empty() && report.hosts.iter().any(|outlook| outlook.unrelieved.is_some());
            let better = hopeless
                .then(|| goal::untangle(view, policy, *condition, &report, budget, rng))
                .flatten();
            better.unwrap_or_else(|| (batch::into_batches(moves, budget), report))
        }
        Goal::Shed { group } => goal::shed(view, policy, group, budget, rng),
        Goal::Place { guest, to } => {
            let filled = (policy.placement.mode != MigrationMode::Live)
                .then(|| goal::as_if_running(view, policy, *guest));
            let view = filled.as_ref().unwrap_or(view);
            let (moves, report) = place::place(view, policy, *guest, *to, rng);
            (batch::into_batches(moves, budget), report)
        }
        Goal::Several { guests, to } => goal::several(view, policy, guests, *to, budget, rng),
        Goal::Balance { level } => goal::balance(view, policy, *level, budget, rng),
        Goal::Drain { hosts } => goal::drain(view, policy, hosts, budget, rng),
        Goal::Restart { hosts } => goal::restart(view, policy, hosts, budget, rng),
        Goal::Consolidate { spare } => goal::consolidate(view, policy, *spare, budget),
        Goal::Admit { guest } => goal::admit(view, policy, guest, rng),
        Goal::Repair => goal::repair(view, policy, budget, rng),
        Goal::Resize { guest, vcpus, memory_mib } => {
            goal::resize(view, policy, *guest, *vcpus, Mib(*memory_mib), rng)
        }
    };
    let batches = batches.into_iter().filter(|batch| !batch.is_empty()).collect();
    (Plan { batches }, report)
}
