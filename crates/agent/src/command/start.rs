//! Source: send a guest away.

use std::sync::Arc;

use drover_agent_api::v1::{Failure, FailureKind, StartMigration};
use drover_lifecycle::{Beginning, beginning};
use drover_model::{Guest, MigrationSettings};
use drover_ports::OutgoingMigration;

use super::failure::{failure, of_hypervisor};
use super::shared_disks::are_declared_shared;
use super::turns::Turn;
use super::{Commands, Order};
use crate::migration::{depart, follow};

impl Commands {
    /// Done means only that this agent knows the migration: the rest is told by updates.
    pub(super) async fn start_migration(
        self: &Arc<Self>,
        order: &Order,
        start: StartMigration,
        _turn: Turn,
    ) -> Result<(), Failure> {
        if self.operations.knows(order.operation) {
            self.report(order.operation);
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
                let outgoing = self.outgoing(&guest, start)?;
                self.operations.begin(order.operation, order.guest);
                self.spawn(depart::depart(Arc::clone(self), order.operation, outgoing));
            }
            (Beginning::Refuse(reason), _) => {
                self.operations.begin(order.operation, order.guest);
                self.conclude(order.operation, Err(failure(FailureKind::Conflict, reason)));
            }
            (Beginning::Depart | Beginning::Follow, _) => {
                self.operations.begin(order.operation, order.guest);
                self.spawn(follow::follow(Arc::clone(self), order.operation, order.guest));
            }
        }
        Ok(())
    }

    fn outgoing(&self, guest: &Guest, start: StartMigration) -> Result<OutgoingMigration, Failure> {
        let settings: MigrationSettings =
            serde_json::from_slice(&start.settings_json).map_err(|error| {
                failure(FailureKind::Refused, format!("the migration settings are wrong: {error}"))
            })?;
        Ok(OutgoingMigration {
            guest: guest.id,
            peer_uri: start.peer_uri,
            migration_address: start.migration_address,
            settings,
            disks_declared_shared: are_declared_shared(&guest.disks, &self.shared_paths),
        })
    }
}
