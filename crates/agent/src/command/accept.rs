//! Target: be ready to receive a guest.

use std::sync::Arc;

use drover_agent_api::v1::{AcceptIncoming, Failure, FailureKind};

use super::failure::{failure, of_hypervisor};
use super::turns::Turn;
use super::{Commands, Order};

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
        match self.guest(order.guest).await {
            Ok(Some(guest)) if guest.state.is_active() => {
                let message = format!("it is {} on this host already", guest.state.as_str());
                Err(failure(FailureKind::Conflict, message))
            }
            Ok(_) => {
                if accept.probe {
                    self.network.begin_probe(self, order.operation, order.guest, accept.nics);
                }
                Ok(())
            }
            Err(error) => Err(of_hypervisor(&error)),
        }
    }
}
