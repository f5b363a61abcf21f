//! Carries out the later batches of plans that somebody asked for.
//!
//! A rule's or a policy's later batches are planned anew. A plan that was looked at and
//! applied is meant as a whole: each of its batches begins once the one before is over and
//! the rest still passes the audit on fresh measurements.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_lifecycle::MigrationState;
use drover_model::Timestamp;
use drover_ports::{Clock, History};
use drover_rules::constraint::Constraint;
use drover_rules::{Aggregate, PlacementPolicy, Projection, Violation, audit};

use super::Reconcile;
use super::rules::ceilings;
use crate::engine::Engine;
use crate::events::{Draft, Events, Severity};
use crate::launch::{LaunchError, begun, go_on, is_as_read};
use crate::placement::{initiative, standing};
use crate::preflight::memory::on_the_way;
use crate::records::{Cause, PlanRecord, PlanState, Records, Tables, Txn};
use crate::view::{Over, cluster_view, samples};

/// As a request does: fresh values, not steady ones.
const SAMPLES: u32 = 2;
/// Samples that do not come for so long end the plan.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Clone)]
pub struct AdvancePlans {
    /// Records.
    pub records: Arc<Records>,
    /// Event log.
    pub events: Arc<Events>,
    /// Operations.
    pub engine: Engine,
    /// Metric history.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Of healthy agents.
    pub sample_interval: Duration,
}

#[async_trait]
impl Reconcile for AdvancePlans {
    fn name(&self) -> &'static str {
        "advance-plans"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let due: Vec<PlanRecord> = {
            let tables = self.records.read();
            let running = tables.plans.iter().rev().filter(|p| p.state == PlanState::Running);
            running.filter(|plan| waits(&tables, plan)).cloned().collect()
        };
        for plan in due {
            self.advance(&plan).await?;
        }
        Ok(())
    }
}

impl AdvancePlans {
    async fn advance(&self, plan: &PlanRecord) -> anyhow::Result<()> {
        let now = self.clock.now();
        let violations = self.violations(plan, now).await?;
        if violations.is_empty() {
            return match go_on(&self.records, &self.engine, plan, now).await {
                Ok(()) => Ok(()),
                Err(LaunchError::Overtaken(reason)) => self.stop(plan, &reason).await,
                Err(error @ LaunchError::Record(_)) => Err(error.into()),
            };
        }
        let passes =
            violations.iter().all(|one| one.refusal.constraint == Constraint::FreshSamples);
        let waited = now.since(last_change(&self.records.read(), plan));
        if passes && waited < GIVE_UP_AFTER {
            return Ok(());
        }
        let reasons: Vec<&str> = violations.iter().map(|one| one.refusal.reason.as_str()).collect();
        self.stop(plan, &reasons.join("; ")).await
    }

    async fn violations(
        &self,
        plan: &PlanRecord,
        now: Timestamp,
    ) -> anyhow::Result<Vec<Violation>> {
        let period = self.sample_interval * SAMPLES;
        let series = samples(self.history.as_ref(), now, period * 2).await?;
        let over =
            Over { period, aggregate: Aggregate::Mean, sample_interval: self.sample_interval };
        let tables = self.records.read();
        let view = cluster_view(&tables, &series, now, over);
        let placement = PlacementPolicy {
            ceilings: ceilings(&tables),
            initiative: initiative(&tables, &plan.cause),
            ..standing(&tables)
        };
        let placement = on_the_way(placement, &plan.settings);
        let rest = plan.plan.steps().split_off(begun(plan));
        Ok(audit::check_plan(&Projection::of(&view), &placement, &rest))
    }

    async fn stop(&self, plan: &PlanRecord, reason: &str) -> anyhow::Result<()> {
        let stopped = self
            .records
            .update(|tables| {
                let mut txn = Txn::none();
                let Some(before) = tables.plans.get(plan.id).filter(|now| is_as_read(now, plan))
                else {
                    return (txn, false);
                };
                let after =
                    PlanRecord { state: PlanState::Failed, measure: None, ..before.clone() };
                txn.change(before, after);
                (txn, true)
            })
            .await?;
        if !stopped {
            return Ok(());
        }
        let left = plan.plan.moves().count() - plan.operations.len();
        let text = format!("plan of {}: {left} more move(s) are not made: {reason}", plan.cause);
        self.events.record(Draft::new("plan.stopped", Severity::Warning, text).plan(plan.id)).await;
        Ok(())
    }
}

/// Whether the plan has moves that are to be begun by themselves, once what is under way is
/// over.
pub(super) fn has_more(plan: &PlanRecord) -> bool {
    matches!(plan.cause, Cause::Request { .. })
        && plan.state == PlanState::Running
        && begun(plan) < plan.plan.batches.len()
}

fn waits(tables: &Tables, plan: &PlanRecord) -> bool {
    let mut operations = plan.operations.iter().filter_map(|id| tables.operations.get(*id));
    has_more(plan)
        && operations.all(|op| matches!(op.migration.state, MigrationState::Completed { .. }))
}

fn last_change(tables: &Tables, plan: &PlanRecord) -> Timestamp {
    let operations = plan.operations.iter().filter_map(|id| tables.operations.get(*id));
    operations.map(crate::records::OperationRecord::changed).max().unwrap_or(plan.at)
}
