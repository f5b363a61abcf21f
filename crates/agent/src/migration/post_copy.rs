//! The switch to post-copy, and going on when the transfer breaks after it.
//!
//! The controller has made the target the guest's owner before it asks for the switch. A
//! transfer that may still end as pre-copy arrives paused, so it cannot be switched: it is
//! ended, and begun again as one that can. Everything is sent anew, which is the price of
//! never letting libvirt start the copy of a transfer that did not need it.

use std::sync::Arc;
use std::time::Duration;

use drover_agent_api::v1::FailureKind;
use drover_model::{Bytes, GuestId, GuestState, MigrationOutcome, MigrationProgress, OperationId};
use drover_ports::{HypervisorError, OutgoingMigration};
use tracing::{info, warn};

use super::follow::follow;
use crate::command::Commands;
use crate::command::failure::{failure, of_hypervisor};

/// A broken transfer is gone on with so often. Each try holds the connection for as long as
/// libvirt's keepalive lets it, so shorter gains nothing.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Looks after which a job that was begun by an earlier run of this agent, and does not
/// switch, is taken for one that cannot.
const SWITCH_TRIES: u32 = 20;

/// What became of a wish to switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    /// Not asked for, or done.
    Settled,
    /// To be tried again.
    Pending,
}

/// Whether bytes go over the line. One that is dead looks like one that is slow, and a guest that
/// is switched then is lost: its state never arrives, and QEMU lets the source go on no more.
/// (Found by the crash simulator.)
#[derive(Debug, Default)]
pub(super) struct Moving(Option<Bytes>);

impl Moving {
    /// Whether more has been sent than at the last look.
    pub(super) fn has_moved(&mut self, progress: &MigrationProgress) -> bool {
        let before = self.0.replace(progress.processed);
        before.is_some_and(|before| progress.processed > before)
    }
}

/// Tries to switch a job that allows it.
pub(super) async fn try_switch(
    commands: &Commands,
    operation: OperationId,
    guest: GuestId,
) -> Switch {
    match commands.hypervisor.start_post_copy(guest).await {
        Ok(()) => {
            info!(%operation, %guest, "switched to post-copy");
            Switch::Settled
        }
        // It has not begun to send.
        Err(HypervisorError::Conflict(_)) => Switch::Pending,
        Err(error) => {
            warn!(%operation, %error, "cannot switch to post-copy");
            Switch::Pending
        }
    }
}

/// The same for a job of which it is not known whether it allows it; ends it when it does not.
pub(super) async fn switch_or_end(
    commands: &Commands,
    operation: OperationId,
    guest: GuestId,
    tries: &mut u32,
) -> Switch {
    let outcome = try_switch(commands, operation, guest).await;
    if outcome == Switch::Pending {
        *tries += 1;
        if *tries >= SWITCH_TRIES {
            commands.operations.ask_to_cancel(operation);
        }
    }
    outcome
}

/// Whether the guest's transfer broke after the switch.
pub(super) async fn has_broken(commands: &Commands, guest: GuestId) -> bool {
    let found = commands.guest(guest).await;
    matches!(found, Ok(Some(found)) if found.state == GuestState::PostCopyFailed)
}

/// Goes on with a broken transfer until it ends. Neither copy can run alone, so there is
/// nothing else to try.
pub(super) async fn recover(
    commands: Arc<Commands>,
    operation: OperationId,
    outgoing: OutgoingMigration,
    why: String,
) {
    let guest = outgoing.guest;
    let mut why = failure(FailureKind::Broken, why);
    loop {
        commands.tell_post_copy_failed(operation, &why);
        tokio::time::sleep(TRY_AGAIN).await;
        let broken = OutgoingMigration { post_copy: true, ..outgoing.clone() };
        match commands.hypervisor.recover_post_copy(broken).await {
            Ok(outcome) => return commands.conclude(operation, Ok(outcome)).await,
            // The source's half is here and cannot run: QEMU lets none go on that switched. So
            // nothing of the guest can run here any more, and the target tells what it has.
            Err(HypervisorError::Gone(_)) if has_broken(&commands, guest).await => {
                warn!(%operation, %guest, "the target lost its half of the guest");
                return commands.conclude(operation, Ok(MigrationOutcome::default())).await;
            }
            Err(error) if has_broken(&commands, guest).await => why = of_hypervisor(&error),
            // It ended by itself, or something else became of it.
            Err(_) => return follow(commands, operation, guest, Some(outgoing), None).await,
        }
    }
}
