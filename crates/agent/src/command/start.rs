//! Source: send a guest away.

use std::sync::Arc;

use drover_agent_api::v1::{Failure, FailureKind, StartMigration};
use drover_lifecycle::{Beginning, beginning};
use drover_model::{DiskCopy, Guest, GuestState, MigrationMode, MigrationSettings};
use drover_ports::OutgoingMigration;

use super::failure::{failure, of_hypervisor};
use super::shared_disks::are_declared_shared;
use super::turns::Turn;
use super::{Commands, Order, read};
use crate::migration::adjust::adjust;
use crate::migration::{cold, depart, follow};
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
        if settings.mode == MigrationMode::Cold {
            return self.start_cold(order, &start, settings).await;
        }
        if self.operations.knows(order.operation) {
            // Its epoch grows with a switch to post-copy.
            self.spend(order.guest, order.epoch).await?;
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
        let state = guest.as_ref().map(|guest| guest.state);
        match (beginning(state, job.is_some(), self.is_spent(order)), guest) {
            (Beginning::Depart, Some(guest)) => {
                let outgoing = self.outgoing(&guest, &start, settings)?;
                self.spend(order.guest, order.epoch).await?;
                self.begin(order, &outgoing);
                self.spawn(depart::depart(Arc::clone(self), order.operation, outgoing));
            }
            (Beginning::Refuse(reason), _) => {
                self.operations.begin(order.operation, order.guest, order.epoch);
                let refused = failure(FailureKind::Conflict, reason);
                self.conclude(order.operation, Err(refused)).await;
            }
            (Beginning::Depart | Beginning::Follow, guest) => {
                let known = guest.map(|guest| self.outgoing(&guest, &start, settings.clone()));
                let outgoing = known.transpose()?;
                self.operations.begin(order.operation, order.guest, order.epoch);
                self.operations.ask_for(order.operation, &settings, start.post_copy);
                let commands = Arc::clone(self);
                let (operation, guest) = (order.operation, order.guest);
                self.spawn(follow::follow(commands, operation, guest, outgoing, None));
            }
        }
        Ok(())
    }

    /// A copy that this agent does not know, or knows no more, begins anew.
    async fn start_cold(
        self: &Arc<Self>,
        order: &Order,
        start: &StartMigration,
        settings: MigrationSettings,
    ) -> Result<(), Failure> {
        if self.operations.knows(order.operation) {
            self.report(order.operation);
            return Ok(());
        }
        let departure = cold::Departure {
            operation: order.operation,
            guest: order.guest,
            peer_uri: start.peer_uri.clone(),
            settings,
            disks: read("list of disks", &start.disks_json)?,
        };
        if self.is_spent(order) {
            // Its copy may be in use at the target by now.
            let message = "it was copied, or failed, before this agent was restarted, and what \
                           was sent is not known any more: move it again";
            return Err(failure(FailureKind::Broken, message));
        }
        let state = self.guest(order.guest).await.map_err(|error| of_hypervisor(&error))?;
        self.operations.begin(order.operation, order.guest, order.epoch);
        match state.map(|guest| guest.state) {
            Some(GuestState::ShutOff) => {
                self.spawn(cold::depart(Arc::clone(self), departure));
            }
            Some(state) => {
                let message = format!("it is {}, and is to move shut off", state.as_str());
                let refused = failure(FailureKind::Conflict, message);
                self.conclude(order.operation, Err(refused)).await;
            }
            None => {
                let message = "it is not defined here";
                self.conclude(order.operation, Err(failure(FailureKind::Gone, message))).await;
            }
        }
        Ok(())
    }

    fn begin(&self, order: &Order, outgoing: &OutgoingMigration) {
        self.operations.begin(order.operation, order.guest, order.epoch);
        self.operations.ask_for(order.operation, &outgoing.settings, outgoing.post_copy);
    }

    fn outgoing(
        &self,
        guest: &Guest,
        start: &StartMigration,
        settings: MigrationSettings,
    ) -> Result<OutgoingMigration, Failure> {
        let disks: Vec<DiskCopy> = read("list of disks", &start.disks_json)?;
        Ok(OutgoingMigration {
            guest: guest.id,
            peer_uri: start.peer_uri.clone(),
            migration_address: start.migration_address.clone(),
            tls_name: uri_host(&start.peer_uri).map(str::to_owned),
            settings,
            post_copy: start.post_copy,
            disks_declared_shared: are_declared_shared(&guest.disks, &disks, &self.shared_paths),
            disks,
        })
    }
}

fn settings(start: &StartMigration) -> Result<MigrationSettings, Failure> {
    read("migration settings", &start.settings_json)
}
