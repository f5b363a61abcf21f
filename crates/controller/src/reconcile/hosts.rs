//! Marks hosts whose agents are silent as unreachable. Nothing else follows from silence.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{Host, HostState, Timestamp};
use drover_ports::Clock;

use super::Reconcile;
use crate::events::{Draft, Events, Severity};
use crate::live::Live;
use crate::records::{HostRecord, PowerRecord, Records, Txn};

/// See the module.
#[derive(Clone)]
pub struct WatchHosts {
    /// Records.
    pub records: Arc<Records>,
    /// Sessions.
    pub live: Arc<Live>,
    /// Event log.
    pub events: Arc<Events>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Silence that counts.
    pub unreachable_after: Duration,
    /// When this controller began to listen: silence before does not count.
    pub since: Timestamp,
}

#[async_trait]
impl Reconcile for WatchHosts {
    fn name(&self) -> &'static str {
        "watch-hosts"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let now = self.clock.now();
        let silent = |host: &Host| {
            let heard = self.live.last_heard(host.id).unwrap_or(host.last_seen).max(self.since);
            now.since(heard) > self.unreachable_after
        };
        let lost = self
            .records
            .update(|tables| {
                let mut txn = Txn::none();
                let lost: Vec<HostRecord> = tables
                    .hosts
                    .iter()
                    .filter(|r| r.host.state != HostState::Unreachable && silent(&r.host))
                    .take(drover_ports::MAX_CHANGES)
                    .cloned()
                    .map(|mut record| {
                        let heard = self.live.last_heard(record.host.id);
                        record.host.last_seen = heard.unwrap_or(record.host.last_seen);
                        record.host.state = HostState::Unreachable;
                        record
                    })
                    .collect();
                for record in &lost {
                    txn.change(tables.hosts.get(record.host.id), record.clone());
                }
                // A host that is off is not lost.
                let explained = |record: &HostRecord| {
                    let power = tables.power.get(record.host.id);
                    power.is_some_and(PowerRecord::explains_silence)
                };
                let lost: Vec<HostRecord> =
                    lost.into_iter().filter(|record| !explained(record)).collect();
                (txn, lost)
            })
            .await?;
        for record in lost {
            let name = record.host.name;
            let text = format!(
                "host {name} is unreachable: nothing heard for {:.0} s; its guests may well run",
                self.unreachable_after.as_secs_f64()
            );
            let draft = Draft::new("host.unreachable", Severity::Error, text).host(name);
            self.events.record(draft).await;
        }
        Ok(())
    }
}
