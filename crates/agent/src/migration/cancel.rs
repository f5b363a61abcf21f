//! A wish to cancel, kept until libvirt has a job that can be ended.

use drover_model::{GuestId, OperationId};
use tracing::warn;

use crate::command::Commands;

/// A cancel command that came before libvirt had begun the job had nothing to end.
pub(super) async fn cancel_if_asked(commands: &Commands, operation: OperationId, guest: GuestId) {
    if commands.operations.is_to_be_cancelled(operation)
        && let Err(error) = commands.hypervisor.cancel_migration(guest).await
    {
        warn!(%operation, %error, "cannot cancel the migration");
    }
}
