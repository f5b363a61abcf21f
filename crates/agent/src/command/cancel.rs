//! Source: end the migration; the guest goes on here.

use drover_agent_api::v1::Failure;

use super::failure::of_hypervisor;
use super::turns::Turn;
use super::{Commands, Order};

impl Commands {
    /// The wish is remembered first: a job that libvirt has not begun yet cannot be cancelled
    /// there, and is ended by its own task once it has.
    pub(super) async fn cancel_migration(&self, order: &Order, turn: Turn) -> Result<(), Failure> {
        self.operations.ask_to_cancel(order.operation);
        drop(turn);
        self.hypervisor.cancel_migration(order.guest).await.map_err(|error| of_hypervisor(&error))
    }
}
