//! Target: be ready to receive a guest.

use std::sync::Arc;

use drover_agent_api::v1::{AcceptIncoming, Failure, FailureKind};
use drover_model::DiskCopy;

use super::failure::{failure, of_claim, of_hypervisor};
use super::turns::Turn;
use super::{Commands, Order, off_runtime, read};

impl Commands {
    /// Refused while the guest is active here in whatever state: two copies on one host are
    /// one too many, and a copy left over by an earlier attempt must be discarded first.
    ///
    /// While this host has not seen the end of the guest's own departure it has to wait: what
    /// arrives would be taken for what leaves.
    pub(super) async fn accept_incoming(
        self: &Arc<Self>,
        order: &Order,
        accept: AcceptIncoming,
        _turn: Turn,
    ) -> Result<(), Failure> {
        if self.operations.is_leaving(order.guest) {
            let message = "its migration away from this host is not over";
            return Err(failure(FailureKind::Retry, message));
        }
        let disks: Vec<DiskCopy> = read("list of disks", &accept.disks_json)?;
        match self.guest(order.guest).await {
            Ok(Some(guest)) if guest.state.is_active() => {
                let message = format!("it is {} on this host already", guest.state.as_str());
                return Err(failure(FailureKind::Conflict, message));
            }
            // Its definition, taken for one that arrived, would say that its disks did.
            Ok(Some(_)) if !disks.is_empty() && !accept.cold => {
                let message = "it is defined on this host already: `virsh undefine` it here first";
                return Err(failure(FailureKind::Refused, message));
            }
            Ok(_) => {}
            Err(error) => return Err(of_hypervisor(&error)),
        }
        self.arrivals.expect(order.guest)?;
        if !disks.is_empty() || accept.cold {
            let claims = Arc::clone(&self.claims);
            let (operation, guest) = (order.operation, order.guest);
            off_runtime(move || claims.claim(operation, guest, accept.cold, &disks))
                .await?
                .map_err(|error| of_claim(&error))?;
        }
        if accept.probe {
            self.network.begin_probe(self, order.operation, order.guest, accept.nics);
        }
        Ok(())
    }
}
