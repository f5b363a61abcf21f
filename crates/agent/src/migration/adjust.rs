//! New settings for a migration that is under way.

use drover_model::{GuestId, MigrationSettings, OperationId};
use drover_ports::{HypervisorError, OutgoingMigration};
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
    if let Err(error) = change(commands, guest, &before, wanted).await {
        warn!(%operation, %error, "cannot change the running migration; tried again");
        commands.operations.ask_for(operation, &before, false);
    }
    if switches && !commands.operations.allows_post_copy(operation) {
        // It is begun again as one that can be switched.
        if let Err(error) = commands.hypervisor.cancel_migration(guest).await {
            warn!(%operation, %error, "cannot end the transfer that cannot be switched");
        }
    }
}

/// What came while libvirt set the job up was overwritten by what the job was begun with: once
/// it sends it is said again.
pub(super) async fn adjust_again(
    commands: &Commands,
    operation: OperationId,
    outgoing: &OutgoingMigration,
) {
    let Some(wanted) = commands.operations.settings(operation) else { return };
    let outcome = change(commands, outgoing.guest, &outgoing.settings, &wanted).await;
    if let Err(error) = outcome {
        warn!(%operation, %error, "cannot change the running migration");
    }
}

async fn change(
    commands: &Commands,
    guest: GuestId,
    before: &MigrationSettings,
    wanted: &MigrationSettings,
) -> Result<(), HypervisorError> {
    if before.max_downtime_ms != wanted.max_downtime_ms {
        commands.hypervisor.set_max_downtime(guest, wanted.max_downtime_ms).await?;
    }
    if before.max_bandwidth_mib_s != wanted.max_bandwidth_mib_s {
        commands.hypervisor.set_bandwidth(guest, wanted.max_bandwidth_mib_s).await?;
    }
    Ok(())
}
