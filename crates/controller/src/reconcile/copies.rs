//! Looks again at guests that are active on a host although another one owns them.
//!
//! Nothing is done to such a guest, whatever it turns out to be.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use drover_model::HostId;
use drover_ports::Clock;

use super::Reconcile;
use crate::events::{Draft, Events, Severity};
use crate::inventory::{Finding, enter, judge};
use crate::live::{Live, Unclear};
use crate::records::{Records, Tables, Txn};

/// A guest that is in two places for so long is no migration's last moment, and both hosts
/// have spoken: agents tell changes within a second.
const CONFIRM: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone)]
pub struct ReviewCopies {
    /// Records.
    pub records: Arc<Records>,
    /// Sessions.
    pub live: Arc<Live>,
    /// Event log.
    pub events: Arc<Events>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Reconcile for ReviewCopies {
    fn name(&self) -> &'static str {
        "review-copies"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        for (host, unclear) in self.live.all_unclear() {
            let said = self
                .records
                .update(|tables| {
                    let mut txn = Txn::none();
                    let draft = self.review(tables, &mut txn, host, &unclear);
                    (txn, draft)
                })
                .await?;
            if let Some(draft) = said {
                self.events.record(draft).await;
            }
        }
        Ok(())
    }
}

impl ReviewCopies {
    fn review(
        &self,
        tables: &Tables,
        txn: &mut Txn,
        host: HostId,
        unclear: &Unclear,
    ) -> Option<Draft> {
        let (guest, name) = (&unclear.guest, tables.host_name(host));
        match judge(tables, host, guest, &*self.live) {
            Some(Finding::Unclear { owner, .. }) => {
                let confirmed = self.clock.now().since(unclear.since) >= CONFIRM;
                if unclear.told || !confirmed {
                    return None;
                }
                self.live.told(host, guest.id);
                let text = format!(
                    "guest {} is active on {name}, and {} owns it and has not given it up; \
                     nothing is done to either copy",
                    guest.name,
                    tables.host_name(owner)
                );
                let draft = Draft::new("guest.double", Severity::Error, text);
                Some(draft.guest(guest.name.clone()).host(name))
            }
            finding => {
                self.live.is_clear(host, guest.id);
                enter(tables, txn, &name, finding?)
            }
        }
    }
}
