//! Keeps what is kept within its limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use drover_model::PlanId;
use drover_ports::{Clock, History, Retention};

use super::Reconcile;
use crate::events::Events;
use crate::preflight::memory::outdated;
use crate::records::{PlanRecord, PlanState, Records, Tables, Txn};

/// Finished operations that are kept; plans likewise. At 2 KB each, 20 MB.
const MAX_FINISHED: usize = 10_000;

/// Plans that are kept although they were only shown: anyone who may look can make them,
/// and one of a large cluster takes up to a MiB.
const MAX_PROPOSED: usize = 500;

/// See the module.
#[derive(Clone)]
pub struct KeepHouse {
    /// Records.
    pub records: Arc<Records>,
    /// Event log.
    pub events: Arc<Events>,
    /// Metric history.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Reconcile for KeepHouse {
    fn name(&self) -> &'static str {
        "keep-house"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let now = self.clock.now();
        self.records
            .update(|tables| {
                let mut txn = Txn::none();
                let room = drover_ports::MAX_CHANGES / 4;
                let operations = tables.operations.len().saturating_sub(MAX_FINISHED).min(room);
                for old in tables
                    .operations
                    .iter()
                    .filter(|operation| {
                        operation.migration.state.is_finished()
                            && operation.migration.effects_again().is_empty()
                    })
                    .take(operations)
                {
                    txn.delete_operation(old.migration.operation);
                }
                let refusals = outdated(tables, now).into_iter().take(room);
                refusals.for_each(|guest| txn.delete_refusal_if(tables, guest));
                for old in old_plans(tables).into_iter().take(room) {
                    txn.delete_plan(old);
                }
                for old in tables.joins.iter().filter(|join| join.expires < now).take(room) {
                    txn.delete_join(old.id);
                }
                (txn, ())
            })
            .await?;
        self.events.prune().await?;
        self.history.compact(now, Retention::default()).await?;
        Ok(())
    }
}

/// Plans beyond what is kept, the oldest first: those that were only shown, then others.
fn old_plans(tables: &Tables) -> BTreeSet<PlanId> {
    let shown = |plan: &&PlanRecord| plan.state == PlanState::Proposed;
    let over = |plan: &&PlanRecord| plan.state != PlanState::Running;
    let too_many = tables.plans.iter().filter(shown).count().saturating_sub(MAX_PROPOSED);
    let beyond = tables.plans.len().saturating_sub(MAX_FINISHED);
    let proposed = tables.plans.iter().filter(shown).take(too_many);
    proposed.chain(tables.plans.iter().filter(over).take(beyond)).map(|plan| plan.id).collect()
}

#[cfg(test)]
mod tests {
    use drover_model::Timestamp;
    use drover_planner::{Plan, PlanReport};
    use drover_ports::memory::MemoryStore;

    use super::*;
    use crate::records::Cause;

    #[tokio::test]
    async fn of_plans_that_were_only_shown_the_newest_are_kept() {
        let records = Records::load(Arc::new(MemoryStore::default())).await.unwrap();
        for number in 0..=MAX_PROPOSED + 1 {
            let id = PlanId::from_u128(u128::try_from(number).unwrap());
            let plan = PlanRecord {
                id,
                at: Timestamp::EPOCH,
                cause: Cause::Request { who: "ann".to_owned() },
                state: if number == 0 { PlanState::Done } else { PlanState::Proposed },
                plan: Plan::default(),
                report: PlanReport::default(),
                settings: drover_model::MigrationSettings::default(),
                operations: vec![],
                measure: None,
            };
            let put = |_: &Tables| {
                let mut txn = Txn::none();
                txn.put(plan);
                (txn, ())
            };
            records.update(put).await.unwrap();
        }
        let old: Vec<PlanId> = old_plans(&records.read()).into_iter().collect();
        assert_eq!(old, [PlanId::from_u128(1)], "what was done stays");
    }
}
