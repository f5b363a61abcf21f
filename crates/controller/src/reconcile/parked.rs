//! Notes when hosts were parked: what parking has saved follows from it.

use std::sync::Arc;

use async_trait::async_trait;
use drover_model::{HostId, Timestamp};
use drover_ports::Clock;

use super::Reconcile;
use crate::records::{ParkedRecord, PowerPhase, PowerRecord, Records, Tables, Txn};

/// See the module.
pub struct NoteParked {
    /// Records.
    pub records: Arc<Records>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Reconcile for NoteParked {
    fn name(&self) -> &'static str {
        "note-parked"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let now = self.clock.now();
        let nothing_new = news(&self.records.read(), now).is_empty();
        if nothing_new {
            return Ok(());
        }
        self.records
            .update(|tables| {
                let mut txn = Txn::none();
                let room = drover_ports::MAX_CHANGES;
                for record in news(tables, now).into_iter().take(room) {
                    txn.change(tables.parked.get(record.host), record);
                }
                (txn, ())
            })
            .await?;
        Ok(())
    }
}

/// Records of hosts that were parked or woken since they were last looked at.
fn news(tables: &Tables, now: Timestamp) -> Vec<ParkedRecord> {
    let of = |host: HostId| {
        let none = || ParkedRecord { host, spans: Vec::new() };
        tables.parked.get(host).cloned().unwrap_or_else(none)
    };
    let seen = |power: &PowerRecord| {
        let is_parked = matches!(power.phase, PowerPhase::Parked(_));
        // The present phase began when the one before it ended.
        of(power.host).seen(is_parked.then_some(power.since), now.min(power.since))
    };
    let there = |power: &&PowerRecord| tables.hosts.get(power.host).is_some();
    tables.power.iter().filter(there).filter_map(seen).collect()
}
