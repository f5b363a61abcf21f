//! Source: send a guest away.

use std::sync::Arc;

use drover_agent_api::v1::{Failure, FailureKind, StartMigration};
use drover_lifecycle::{Beginning, beginning};
use drover_model::{Guest, MigrationSettings};
use drover_ports::OutgoingMigration;
use serde::de::DeserializeOwned;

use super::failure::{failure, of_hypervisor};
use super::shared_disks::are_declared_shared;
use super::turns::Turn;
use super::{Commands, Order};
use crate::migration::adjust::adjust;
use crate::migration::{depart, follow};
use crate::reach::uri_host;

impl Commands {
    /// Done means only that this agent knows the migration: the rest is told by updates.
    pub(super) async fn start_migration(
        self: &Arc<Self>,
        order: &Order,
        start: StartMigration,
        _turn: Turn,
    ) -> Result<(), Failure> {
        let settings = settings(&start)?;
        if self.operations.knows(order.operation) {
            self.report(order.operation);
            adjust(self, order.operation, order.guest, &settings, start.post_copy).await;
            return Ok(());
        }
        if self.operations.is_leaving(order.guest) {
            let message = "another migration of this guest is under way here";
            return Err(failure(FailureKind::Conflict, message));
        }
        let guest = self.guest(order.guest).await.map_err(|error| of_hypervisor(&error))?;
        let job = match &guest {
            Some(guest) if guest.state.is_active() => self
                .hypervisor
                .progress(order.guest)
                .await
                .map_err(|error| of_hypervisor(&error))?,
            _ => None,
        };
        match (beginning(guest.as_ref().map(|guest| guest.state), job.is_some()), guest) {
            (Beginning::Depart, Some(guest)) => {
                let outgoing = self.outgoing(&guest, &start, settings)?;
                self.begin(order, &outgoing);
                self.spawn(depart::depart(Arc::clone(self), order.operation, outgoing));
            }
            (Beginning::Refuse(reason), _) => {
                self.operations.begin(order.operation, order.guest);
                self.conclude(order.operation, Err(failure(FailureKind::Conflict, reason)));
            }
            (Beginning::Depart | Beginning::Follow, guest) => {
                let known = guest.map(|guest| self.outgoing(&guest, &start, settings.clone()));
                let outgoing = known.transpose()?;
                self.operations.begin(order.operation, order.guest);
                self.operations.ask_for(order.operation, &settings, start.post_copy);
                let commands = Arc::clone(self);
                self.spawn(follow::follow(commands, order.operation, order.guest, outgoing));
            }
        }
        Ok(())
    }

    fn begin(&self, order: &Order, outgoing: &OutgoingMigration) {
        self.operations.begin(order.operation, order.guest);
        self.operations.ask_for(order.operation, &outgoing.settings, outgoing.post_copy);
    }

    fn outgoing(
        &self,
        guest: &Guest,
        start: &StartMigration,
        settings: MigrationSettings,
    ) -> Result<OutgoingMigration, Failure> {
        Ok(OutgoingMigration {
            guest: guest.id,
            peer_uri: start.peer_uri.clone(),
            migration_address: start.migration_address.clone(),
            tls_name: uri_host(&start.peer_uri).map(str::to_owned),
            settings,
            post_copy: start.post_copy,
            disks: read("list of disks", &start.disks_json)?,
            disks_declared_shared: are_declared_shared(&guest.disks, &self.shared_paths),
        })
    }
}

fn settings(start: &StartMigration) -> Result<MigrationSettings, Failure> {
    read("migration settings", &start.settings_json)
}

fn read<T: DeserializeOwned + Default>(what: &str, json: &[u8]) -> Result<T, Failure> {
    if json.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(json).map_err(|error| {
        failure(FailureKind::Refused, format!("the {what} cannot be read: {error}"))
    })
}
