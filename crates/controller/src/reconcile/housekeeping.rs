//! Keeps what is kept within its limits.

use std::sync::Arc;

use async_trait::async_trait;
use drover_ports::{Clock, History, Retention};

use super::Reconcile;
use crate::events::Events;
use crate::records::{PlanState, Records, Txn};

/// Finished operations that are kept; plans likewise. At 2 KB each, 20 MB.
const MAX_FINISHED: usize = 10_000;

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
                let room = drover_ports::MAX_CHANGES / 3;
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
                let plans = tables.plans.len().saturating_sub(MAX_FINISHED).min(room);
                let over = |state| state != PlanState::Running;
                for old in tables.plans.iter().filter(|plan| over(plan.state)).take(plans) {
                    txn.delete_plan(old.id);
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
