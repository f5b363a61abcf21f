//! Closes plans whose moves are over, and measures afterwards what came of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_lifecycle::MigrationState;
use drover_model::{HostState, Timestamp};
use drover_ports::{Clock, History};
use drover_rules::Aggregate;

use super::Reconcile;
use super::advance::has_more;
use crate::engine::of_rule;
use crate::events::{Draft, Events, Severity};
use crate::records::{Measure, OperationRecord, PlanRecord, PlanState, Records, Tables, Txn};
use crate::view::{Over, cluster_view, samples};

/// A measurement that cannot be had for so long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Clone)]
pub struct FollowPlans {
    /// Records.
    pub records: Arc<Records>,
    /// Event log.
    pub events: Arc<Events>,
    /// Metric history.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Of healthy agents.
    pub sample_interval: Duration,
}

#[async_trait]
impl Reconcile for FollowPlans {
    fn name(&self) -> &'static str {
        "follow-plans"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let now = self.clock.now();
        let closed = self
            .records
            .update(|tables| {
                let mut txn = Txn::none();
                let closed: Vec<PlanRecord> =
                    tables.plans.iter().filter_map(|plan| close(tables, plan, now)).collect();
                for plan in &closed {
                    txn.put(plan.clone());
                }
                (txn, closed)
            })
            .await?;
        for plan in closed {
            self.events.record(closing(&plan)).await;
        }
        self.measure_due(now).await
    }
}

impl FollowPlans {
    async fn measure_due(&self, now: Timestamp) -> anyhow::Result<()> {
        let due: Vec<PlanRecord> = self
            .records
            .read()
            .plans
            .iter()
            .rev()
            .filter(|plan| plan.state != PlanState::Running)
            .filter(|plan| plan.measure.as_ref().is_some_and(|measure| measure.due <= now))
            .cloned()
            .collect();
        for plan in due {
            let Some(measure) = plan.measure.clone() else { continue };
            let draft = self.measured(&plan, &measure, now).await?;
            let overdue = now.since(measure.due) > GIVE_UP_AFTER;
            if draft.is_none() && !overdue {
                continue;
            }
            self.records
                .update(|_| {
                    let mut txn = Txn::none();
                    let before = tables.plans.get(plan.id);
                    if let Some(before) = before.filter(|now| now.measure == plan.measure) {
                        txn.change(before, PlanRecord { measure: None, ..before.clone() });
                    }
                    (txn, ())
                })
                .await?;
            if let Some(draft) = draft {
                self.events.record(draft).await;
            }
        }
        Ok(())
    }

    /// The event with expected and measured values; none while a value is missing.
    async fn measured(
        &self,
        plan: &PlanRecord,
        measure: &Measure,
        now: Timestamp,
    ) -> anyhow::Result<Option<Draft>> {
        let period = Duration::from_millis(measure.period_ms);
        let series = samples(self.history.as_ref(), now, period).await?;
        let over =
            Over { period, aggregate: Aggregate::Mean, sample_interval: self.sample_interval };
        let view = cluster_view(&self.records.read(), &series, now, over);
        let mut texts = Vec::new();
        let draft = Draft::new("plan.measured", Severity::Info, "").plan(plan.id);
        let mut draft = of_rule(draft, &plan.cause);
        for (host, expected) in &measure.expected {
            let Some(value) = view.host_value(*host, measure.metric) else { return Ok(None) };
            let name = view.host_name(*host);
            texts.push(format!(
                "{name} expected {} measured {}",
                measure.metric.show(*expected),
                measure.metric.show(value)
            ));
            draft = draft
                .with(&format!("expected.{name}"), *expected)
                .with(&format!("measured.{name}"), value);
        }
        let message = format!("outcome of {}: {}", plan.cause, texts.join("; "));
        Ok(Some(draft.message(message).with("metric", measure.metric.name())))
    }
}

fn close(tables: &Tables, plan: &PlanRecord, now: Timestamp) -> Option<PlanRecord> {
    if plan.state != PlanState::Running {
        return None;
    }
    let operations: Vec<_> =
        plan.operations.iter().filter_map(|id| tables.operations.get(*id)).collect();
    if operations.iter().any(|operation| !is_over(tables, operation)) {
        return None;
    }
    let done = |state: &MigrationState| matches!(state, MigrationState::Completed { .. });
    let all_done = operations.iter().all(|operation| done(&operation.migration.state));
    if all_done && has_more(plan) {
        return None;
    }
    let state = if all_done { PlanState::Done } else { PlanState::Failed };
    let measure = plan.measure.clone().filter(|_| all_done).map(|measure| Measure {
        due: now.plus(Duration::from_millis(measure.period_ms)),
        ..measure
    });
    Some(PlanRecord { state, measure, ..plan.clone() })
}

/// Whether it has ended, or waits for a host that is unreachable: one dead host must not
/// hold up the plans of all others. The guest stays bound to its operation.
fn is_over(tables: &Tables, operation: &OperationRecord) -> bool {
    let migration = &operation.migration;
    let unreachable = |host| {
        let record = tables.hosts.get(host);
        record.is_some_and(|record| record.host.state == HostState::Unreachable)
    };
    migration.state.is_finished()
        || migration.effects_again().iter().any(|effect| unreachable(migration.host_of(*effect)))
}

fn closing(plan: &PlanRecord) -> Draft {
    let later: usize = plan.plan.batches.iter().skip(1).map(Vec::len).sum();
    let text = format!(
        "plan of {}: {}{}",
        plan.cause,
        if plan.state == PlanState::Failed { "not all of its moves were made" } else { "done" },
        if later > 0 {
            format!("; {later} more move(s) wait for fresh measurements")
        } else {
            String::new()
        }
    );
    let severity = if plan.state == PlanState::Failed { Severity::Warning } else { Severity::Info };
    of_rule(Draft::new("plan.closed", severity, text).plan(plan.id), &plan.cause)
}
