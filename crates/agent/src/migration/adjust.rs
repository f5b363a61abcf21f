//! New settings for a migration that is under way.

use drover_model::{GuestId, MigrationSettings, OperationId};
use tracing::warn;

use crate::command::Commands;

/// Carries out what differs. What fails is asked for again by the controller, so nothing is
/// remembered as done before it is.
pub(crate) async fn adjust(
    commands: &Commands,
    operation: OperationId,
    guest: GuestId,
    wanted: &MigrationSettings,
    post_copy: bool,
) {
    if !commands.operations.is_leaving(guest) {
        return;
    }
    let switches = post_copy && !commands.operations.is_to_switch(operation);
    let Some(before) = commands.operations.ask_for(operation, wanted, post_copy) else { return };
    let hypervisor = &commands.hypervisor;
    let mut failed = None;
    if before.max_downtime_ms != wanted.max_downtime_ms {
        failed = hypervisor.set_max_downtime(guest, wanted.max_downtime_ms).await.err();
    }
    if before.max_bandwidth_mib_s != wanted.max_bandwidth_mib_s && failed.is_none() {
        failed = hypervisor.set_bandwidth(guest, wanted.max_bandwidth_mib_s).await.err();
    }
    if let Some(error) = failed {
        warn!(%operation, %error, "cannot change the running migration; tried again");
        commands.operations.ask_for(operation, &before, false);
    }
    if switches && !commands.operations.allows_post_copy(operation) {
        // It is begun again as one that can be switched.
        if let Err(error) = hypervisor.cancel_migration(guest).await {
            warn!(%operation, %error, "cannot end the transfer that cannot be switched");
        }
    }
}
