//! The planner through its one public function.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exact;
mod goals;
mod place;
mod power;
mod properties;
mod relief;
mod scenario;
mod search;
mod watts;

use std::time::Duration;

use drover_model::{ClusterView, HostId};
use drover_planner::{Budget, Goal, Plan, PlanReport, Policy, plan};
use drover_rules::constraint::Ceiling;
use drover_rules::{Condition, PlacementPolicy};
use rand_pcg::Pcg64;

fn relief_policy(condition: &str, hosts: Vec<HostId>) -> Policy {
    let condition: Condition = condition.parse().unwrap();
    let placement = PlacementPolicy {
        ceilings: vec![Ceiling {
            condition,
            hosts: vec![],
            watched: vec![],
            rule: "hot".to_owned(),
        }],
        cooldown: Duration::from_secs(600),
        ..PlacementPolicy::default()
    };
    Policy::new(Goal::Relieve { condition, hosts }, placement)
}

fn relieve(view: &ClusterView, condition: &str) -> (Plan, PlanReport) {
    let policy = relief_policy(condition, view.hosts.keys().copied().collect());
    plan(view, &policy, &Budget::default(), &mut Pcg64::new(1, 1))
}

/// `vm1 h1→h2` per move, batches separated by ` | `.
fn shown(view: &ClusterView, plan: &Plan) -> String {
    let batch = |batch: &Vec<drover_planner::PlannedMove>| {
        batch
            .iter()
            .map(|m| {
                format!(
                    "{} {}→{}",
                    view.guest_name(m.step.guest),
                    view.host_name(m.step.from),
                    view.host_name(m.step.to)
                )
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    plan.batches.iter().map(batch).collect::<Vec<_>>().join(" | ")
}
