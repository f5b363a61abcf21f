//! Tells the controller of all guests: at the start of a session, on every change, and now
//! and then.

use std::time::Duration;

use drover_agent_api::v1::Inventory;
use drover_ports::HypervisorEvent;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::Link;
use crate::clock;

/// Without any event an inventory goes out this often.
const INTERVAL: Duration = Duration::from_secs(30);

/// How long to gather events: a guest's start is a volley of them.
const GATHER: Duration = Duration::from_millis(50);

impl Link {
    /// Sends inventories for as long as the session lasts.
    pub(super) async fn tell_inventories(&self) {
        let mut events = self.hypervisor.events();
        let mut capabilities = self.capabilities.clone();
        // The hello has carried them as they were.
        capabilities.mark_unchanged();
        loop {
            let next = Instant::now() + INTERVAL;
            let mut inventory = self.inventory().await;
            if capabilities.has_changed().unwrap_or(false) {
                inventory.capabilities_json = encode(&*capabilities.borrow_and_update());
            }
            self.outbox.send(inventory);
            tokio::select! {
                () = sleep_until(next) => {}
                () = change(&mut events) => sleep(GATHER).await,
                () = self.commands.network.changed.notified() => sleep(GATHER).await,
                changed = capabilities.changed() => match changed {
                    Ok(()) => capabilities.mark_changed(),
                    Err(_) => sleep_until(next).await,
                },
            }
            // What came while gathering is in the next inventory anyway.
            events = events.resubscribe();
        }
    }

    async fn inventory(&self) -> Inventory {
        let guests = self.hypervisor.guests(self.identity.card.host_id).await;
        let at_ms = clock::now().as_millis();
        match guests {
            Ok(mut guests) => {
                self.commands.network.fill_in(&mut guests);
                Inventory {
                    at_ms,
                    hypervisor_connected: true,
                    guests_json: encode(&guests),
                    capabilities_json: Vec::new(),
                    definitions_json: Vec::new(),
                }
            }
            Err(error) => {
                warn!(%error, "libvirt does not tell its guests");
                Inventory { at_ms, hypervisor_connected: false, ..Inventory::default() }
            }
        }
    }
}

/// JSON of the model's types cannot fail: they have no maps with other keys than strings.
pub(super) fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

async fn change(events: &mut broadcast::Receiver<HypervisorEvent>) {
    loop {
        match events.recv().await {
            Ok(HypervisorEvent::MigrationIteration { .. }) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
