//! Target: destroy the copy that arrived here and has never run.

use drover_agent_api::v1::Failure;
use drover_ports::IncomingDisposal;

use super::failure::of_hypervisor;
use super::turns::Turn;
use super::{Commands, Order};

impl Commands {
    /// That there is none is as good.
    pub(super) async fn discard_incoming(&self, order: &Order, _turn: Turn) -> Result<(), Failure> {
        self.network.end_probe(order.guest);
        match self.hypervisor.discard_incoming(order.guest).await {
            Ok(IncomingDisposal::Discarded | IncomingDisposal::Absent) => Ok(()),
            Err(error) => Err(of_hypervisor(&error)),
        }
    }
}
