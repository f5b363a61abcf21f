//! The switch to post-copy, and going on when the transfer breaks after it.
//!
//! The controller has made the target the guest's owner before it asks for the switch. A
//! transfer that may still end as pre-copy arrives paused, so it cannot be switched: it is
//! ended, and begun again as one that can. Everything is sent anew, which is the price of
//! never letting libvirt start the copy of a transfer that did not need it.

use std::sync::Arc;
use std::time::Duration;

use drover_agent_api::v1::{Failure, FailureKind};
use drover_model::{Bytes, GuestId, GuestState, MigrationOutcome, MigrationProgress, OperationId};
use drover_ports::{HypervisorError, OutgoingMigration};
use tokio::time::Instant;
use tracing::{info, warn};

use super::follow::{follow, look};
use crate::command::Commands;
use crate::command::failure::{failure, of_hypervisor};

/// A broken transfer is gone on with so often. Each try holds the connection for as long as
/// libvirt's keepalive lets it, so shorter gains nothing.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How often is looked meanwhile whether it goes on.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// libvirt waits so long for a guest's lock. On the target an earlier call has it that waits for
/// QEMU.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// A try that has neither failed nor led to a transfer by then does neither: the call that has
/// the lock is its own.
const HANGS_AFTER: Duration = LOCK_WAIT.saturating_mul(2);

/// QEMU touches guest memory with its one lock held (to write to a virtio queue, or under TCG to
/// push an interrupt's frame). A page that has not come blocks it then, and with it the monitor
/// by which it would be told of the new connection. Its own way out is a command that is handled
/// out of band (`migrate-recover`), and libvirt sends none so.
const HANGS: &str = "its transfer broke after the switch to post-copy and cannot be gone on with: \
                     QEMU on the target waits for memory that has not come, and hears nothing \
                     meanwhile. The guest does not run and will not: `virsh destroy` it on the \
                     target, then start it from its disks";

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
        let asked = Instant::now();
        match go_on(&commands, operation, broken).await {
            Ok(outcome) => return commands.conclude(operation, Ok(outcome)).await,
            // The source's half is here and cannot run: QEMU lets none go on that switched. So
            // nothing of the guest can run here any more, and the target tells what it has.
            Err(HypervisorError::Gone(_)) if has_broken(&commands, guest).await => {
                warn!(%operation, %guest, "the target lost its half of the guest");
                return commands.conclude(operation, Ok(MigrationOutcome::default())).await;
            }
            Err(error) if has_broken(&commands, guest).await => {
                why = why_not(&error, asked.elapsed());
            }
            // It ended by itself, or something else became of it.
            Err(_) => return follow(commands, operation, guest, Some(outgoing), None).await,
        }
    }
}

/// Asks for it once, and tells how it goes meanwhile: libvirt answers when the transfer is over
/// or has broken again.
async fn go_on(
    commands: &Commands,
    operation: OperationId,
    broken: OutgoingMigration,
) -> Result<MigrationOutcome, HypervisorError> {
    let guest = broken.guest;
    let asked = Instant::now();
    let mut is_told = false;
    let answer = commands.hypervisor.recover_post_copy(broken);
    tokio::pin!(answer);
    loop {
        tokio::select! {
            outcome = &mut answer => return outcome,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let Ok((state, job)) = look(commands, guest).await else { continue };
        match judge_try(state, job, asked.elapsed()) {
            Try::Sends(progress) => commands.tell_progress(operation, progress),
            Try::Hangs if !is_told => {
                commands.tell_post_copy_failed(operation, &failure(FailureKind::Broken, HANGS));
                is_told = true;
            }
            Try::Hangs | Try::Waits => {}
        }
    }
}

/// Why a try that took so long came to nothing. Pure.
fn why_not(error: &HypervisorError, took: Duration) -> Failure {
    match error {
        HypervisorError::Conflict(_) if took >= LOCK_WAIT => failure(FailureKind::Broken, HANGS),
        _ => of_hypervisor(error),
    }
}

/// How a try to go on gets on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Try {
    /// The rest is on its way.
    Sends(MigrationProgress),
    /// Both libvirts are at it.
    Waits,
    /// It will not be answered.
    Hangs,
}

/// Judges a try by the source's guest and its job, and by how long ago it was begun. Pure.
fn judge_try(state: Option<GuestState>, job: Option<MigrationProgress>, asked: Duration) -> Try {
    match (state, job) {
        (Some(GuestState::PostCopy), Some(progress)) => Try::Sends(progress),
        // libvirt goes from one to the other as soon as the target has the new connection.
        (Some(GuestState::PostCopyFailed), _) if asked >= HANGS_AFTER => Try::Hangs,
        _ => Try::Waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_not_had_is_a_hang_and_what_is_told_at_once_is_not() {
        let held = HypervisorError::Conflict("held by another thread".to_owned());
        let cut = HypervisorError::Broken("no route to host".to_owned());
        for (error, took, hangs) in [
            (&held, LOCK_WAIT, true),
            (&held, Duration::from_secs(1), false),
            (&cut, LOCK_WAIT * 4, false),
        ] {
            let why = why_not(error, took).message;
            assert_eq!(why.contains("cannot be gone on with"), hangs, "{why}");
        }
    }

    #[test]
    fn a_try_that_leads_to_no_transfer_hangs() {
        use GuestState as S;
        let progress = MigrationProgress::default();
        let (soon, late) = (HANGS_AFTER - Duration::from_millis(1), HANGS_AFTER);
        for (state, job, asked, expected) in [
            (Some(S::PostCopyFailed), None, soon, Try::Waits),
            (Some(S::PostCopyFailed), None, late, Try::Hangs),
            // The numbers of the job that broke say nothing of the new try.
            (Some(S::PostCopyFailed), Some(progress), late, Try::Hangs),
            (Some(S::PostCopy), Some(progress), late, Try::Sends(progress)),
            (Some(S::PostCopy), None, late, Try::Waits),
            (Some(S::ShutOff), None, late, Try::Waits),
            (None, None, late, Try::Waits),
        ] {
            assert_eq!(judge_try(state, job, asked), expected, "{state:?} after {asked:?}");
        }
    }
}
