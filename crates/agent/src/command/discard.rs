//! Target: destroy the copy that arrived here and has never run, and what was made for it.

use std::sync::Arc;

use drover_agent_api::v1::{DiscardIncoming, Failure, FailureKind};
use drover_model::GuestState;
use drover_ports::IncomingDisposal;

use super::failure::{failure, of_claim, of_hypervisor};
use super::turns::Turn;
use super::{Commands, Order, off_runtime};

impl Commands {
    /// That there is none is as good. Images go last: while a copy uses them they stay.
    pub(super) async fn discard_incoming(
        &self,
        order: &Order,
        discard: DiscardIncoming,
        _turn: Turn,
    ) -> Result<(), Failure> {
        self.network.end_probe(order.guest);
        self.arrivals.settle(order.guest);
        let found = self.guest(order.guest).await.map_err(|error| of_hypervisor(&error))?;
        let is_off = found.is_some_and(|guest| guest.state == GuestState::ShutOff);
        if is_off && discard.may_have_run {
            let message = "a copy of it that may have run here is shut off";
            return Err(failure(FailureKind::Refused, message));
        }
        let disposed = if is_off && self.claims.has_defined(order.operation) {
            self.hypervisor.undefine(order.guest).await
        } else if is_off && self.claims.is_cold(order.operation) {
            // A definition from before, which nothing of this operation has touched.
            Ok(())
        } else {
            match self.hypervisor.discard_incoming(order.guest).await {
                Ok(IncomingDisposal::Discarded | IncomingDisposal::Absent) => Ok(()),
                Err(error) => Err(error),
            }
        };
        disposed.map_err(|error| of_hypervisor(&error))?;
        let (claims, operation) = (Arc::clone(&self.claims), order.operation);
        let paths = off_runtime(move || claims.discard(operation, discard.keep_disks)).await?;
        self.refresh_images(paths.map_err(|error| of_claim(&error))?).await;
        Ok(())
    }
}
