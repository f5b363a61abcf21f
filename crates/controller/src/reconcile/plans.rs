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
                let mut closed = Vec::new();
                for before in tables.plans.iter() {
                    if let Some((after, tally)) = close(tables, before, now) {
                        txn.change(before, after.clone());
                        closed.push((after, tally));
                    }
                }
                (txn, closed)
            })
            .await?;
        for (plan, tally) in closed {
            self.events.record(closing(&plan, tally)).await;
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
                .update(|tables| {
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
        let over =
            Over { period, aggregate: Aggregate::Mean, sample_interval: self.sample_interval };
        let series = samples(self.history.as_ref(), now, over.reach()).await?;
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

/// What has become of the moves of a plan that ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    made: usize,
    /// Ended otherwise.
    failed: usize,
    /// Still under way, held up by a host that is unreachable.
    waiting: usize,
    /// Of batches that have not begun.
    left: usize,
}

impl Tally {
    fn of(plan: &PlanRecord, operations: &[&OperationRecord]) -> Self {
        let states = || operations.iter().map(|operation| &operation.migration.state);
        let waiting = states().filter(|state| !state.is_finished()).count();
        let done = |state: &&MigrationState| matches!(state, MigrationState::Completed { .. });
        let failed = states().filter(|state| state.is_finished() && !done(state)).count();
        let begun = plan.operations.len();
        let left = plan.plan.moves().count().saturating_sub(begun);
        Self { made: begun.saturating_sub(failed + waiting), failed, waiting, left }
    }

    const fn all_made(self) -> bool {
        self.failed == 0 && self.waiting == 0
    }

    /// Every count that is not zero.
    fn in_words(self) -> String {
        let counts = [
            (self.made, "made"),
            (self.failed, "failed"),
            (self.waiting, "held up by a host that is unreachable"),
            (self.left, "not begun"),
        ];
        let any = counts.into_iter().filter(|(count, _)| *count > 0);
        any.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }
}

fn close(tables: &Tables, plan: &PlanRecord, now: Timestamp) -> Option<(PlanRecord, Tally)> {
    if plan.state != PlanState::Running {
        return None;
    }
    let operations: Vec<_> =
        plan.operations.iter().filter_map(|id| tables.operations.get(*id)).collect();
    if operations.iter().any(|operation| !is_over(tables, operation)) {
        return None;
    }
    let tally = Tally::of(plan, &operations);
    if tally.all_made() && has_more(plan) {
        return None;
    }
    let state = if tally.all_made() { PlanState::Done } else { PlanState::Failed };
    let measure = plan.measure.clone().filter(|_| tally.all_made()).map(|measure| Measure {
        due: now.plus(Duration::from_millis(measure.period_ms)),
        ..measure
    });
    Some((PlanRecord { state, measure, ..plan.clone() }, tally))
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

fn closing(plan: &PlanRecord, tally: Tally) -> Draft {
    let (outcome, severity) = if plan.state == PlanState::Failed {
        let outcome = format!("not all of its moves were made: {}", tally.in_words());
        (outcome, Severity::Warning)
    } else if tally.left > 0 {
        // What a rule or a policy asked for is planned anew; see `reconcile::advance`.
        let outcome = format!("done; {} more move(s) wait for fresh measurements", tally.left);
        (outcome, Severity::Info)
    } else {
        ("done".to_owned(), Severity::Info)
    };
    let text = format!("plan of {}: {outcome}", plan.cause);
    of_rule(Draft::new("plan.closed", severity, text).plan(plan.id), &plan.cause)
}
