//! The switch to post-copy, and going on when the transfer breaks after it.
//!
//! The controller has made the target the guest's owner before it asks for the switch. A
//! transfer that may still end as pre-copy arrives paused, so it cannot be switched: it is
//! ended, and begun again as one that can. Everything is sent anew, which is the price of
//! never letting libvirt start the copy of a transfer that did not need it.

use std::sync::Arc;
use std::time::Duration;

use drover_agent_api::v1::{Failure, FailureKind};
use drover_lifecycle::recovery::{Broken, Patience};
use drover_model::{
    BrokenStream, Bytes, GuestId, GuestState, MigrationOutcome, MigrationProgress, OperationId,
};
use drover_ports::{HypervisorError, OutgoingMigration};
use tokio::time::Instant;
use tracing::{info, warn};

use super::follow::{follow, look};
use crate::command::Commands;
use crate::command::failure::{failure, of_hypervisor};

/// How long things take when a transfer has broken after the switch.
#[derive(Debug, Clone, Copy)]
pub struct RecoveryPace {
    /// It is gone on with so often. Each try holds the connection for as long as libvirt's
    /// keepalive lets it, so shorter gains nothing.
    pub try_again: Duration,
    /// How often is looked meanwhile whether it goes on.
    pub look: Duration,
    /// libvirt on the target that is at work on the guest at every look for so long waits for an
    /// answer of QEMU's; while half of the guest's memory is elsewhere, that does not come any
    /// more.
    pub hangs_after: Duration,
    /// How long QEMU's stream is left alone, to go on by itself.
    pub patience: Patience,
}

impl Default for RecoveryPace {
    fn default() -> Self {
        Self {
            try_again: Duration::from_secs(5),
            look: Duration::from_millis(500),
            hangs_after: Duration::from_secs(30),
            patience: Patience::default(),
        }
    }
}

/// Looks after which the target is asked whether its QEMU answers, while nothing moves.
const LOOKS_PER_QUESTION: u32 = 10;

/// The target may take so long to say so.
const TARGET_SAYS_WITHIN: Duration = Duration::from_secs(5);

/// QEMU touches guest memory with its one lock held (to write to a virtio queue, or under TCG to
/// push an interrupt's frame). A page that has not come blocks it then, and with it the monitor
/// by which it would be told of the new connection. Its own way out is a command that is handled
/// out of band (`migrate-recover`), and libvirt sends none so.
const HANGS: &str =
    "QEMU on the target waits for memory that has not come, and hears nothing meanwhile";

/// Said while the stream has its time.
const LEFT_ALONE: &str = "its transfer broke after the switch to post-copy; the target answers, \
                          and QEMU's own connection is left time to go on by itself";

const CANNOT_GO_ON: &str =
    "its transfer broke after the switch to post-copy and cannot be gone on with";

const CURE: &str = "The guest does not run and will not: `virsh destroy` it on the target, then \
                    start it from its disks";

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
    state: Broken,
) {
    let guest = outgoing.guest;
    let transfer = OutgoingMigration { post_copy: true, ..outgoing.clone() };
    let mut broken = Recovery {
        commands: &commands,
        operation,
        transfer,
        began: Instant::now(),
        state,
        moving: Moving::default(),
        has_stream: false,
        has_moved: false,
        busy_since: None,
    };
    let mut why = failure(FailureKind::Broken, why);
    loop {
        if broken.stands() {
            commands.tell_post_copy_failed(operation, &why);
        }
        while broken.moves_by_itself().await {}
        match broken.go_on().await {
            Ok(outcome) => return commands.conclude(operation, Ok(outcome)).await,
            // The source's half is here and cannot run: QEMU lets none go on that switched. So
            // nothing of the guest can run here any more, and the target tells what it has.
            Err(HypervisorError::Gone(_)) if has_broken(&commands, guest).await => {
                warn!(%operation, %guest, "the target lost its half of the guest");
                return commands.conclude(operation, Ok(MigrationOutcome::default())).await;
            }
            Err(error) if has_broken(&commands, guest).await => {
                why = broken.reason(&error).await;
            }
            // It ended by itself, or something else became of it.
            Err(_) => return follow(commands, operation, guest, Some(outgoing), None).await,
        }
    }
}

/// A broken transfer that is gone on with.
struct Recovery<'a> {
    commands: &'a Commands,
    operation: OperationId,
    transfer: OutgoingMigration,
    began: Instant,
    state: Broken,
    moving: Moving,
    /// QEMU's own stream stood at the last try.
    has_stream: bool,
    /// Memory has come over since it broke.
    has_moved: bool,
    /// libvirt on the target has been found at work at every look since.
    busy_since: Option<Instant>,
}

impl Recovery<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn stream(&self) -> BrokenStream {
        self.state.stream(self.now(), self.commands.recovery.patience)
    }

    /// A stream that is not severed, and moves now and then, is not broken.
    fn stands(&self) -> bool {
        let stands_after = self.commands.recovery.patience.at_least_ms;
        let moved_long_ago =
            || self.state.still_for(self.now()).is_none_or(|still| still >= stands_after);
        !self.has_stream || !self.has_moved || moved_long_ago()
    }

    /// Looks for as long as lies between two tries, and tells how it goes meanwhile.
    async fn moves_by_itself(&mut self) -> bool {
        let end = Instant::now() + self.commands.recovery.try_again;
        let mut moves = false;
        while Instant::now() < end {
            tokio::time::sleep(self.commands.recovery.look).await;
            let looked = look(self.commands, self.transfer.guest).await;
            if let Ok((Some(GuestState::PostCopyFailed), Some(progress))) = looked
                && self.moving.has_moved(&progress)
            {
                moves = true;
                self.note_moved();
                self.commands.tell_progress(self.operation, progress);
            }
        }
        moves
    }

    /// Asks for it once, and tells how it goes meanwhile: libvirt answers when the transfer is
    /// over or has broken again, and not at all where QEMU on the target does not answer.
    async fn go_on(&mut self) -> Result<MigrationOutcome, HypervisorError> {
        let stream = self.stream();
        let answer = self.commands.hypervisor.recover_post_copy(self.transfer.clone(), stream);
        tokio::pin!(answer);
        let mut still = 0_u32;
        loop {
            tokio::select! {
                outcome = &mut answer => return outcome,
                () = tokio::time::sleep(self.commands.recovery.look) => {}
            }
            match look(self.commands, self.transfer.guest).await {
                Ok((Some(GuestState::PostCopy), Some(progress))) => {
                    still = 0;
                    self.note_moved();
                    self.commands.tell_progress(self.operation, progress);
                }
                Ok((Some(GuestState::PostCopyFailed), _)) => {
                    still += 1;
                    if still.is_multiple_of(LOOKS_PER_QUESTION)
                        && let Some(why) = self.hangs().await
                    {
                        self.commands.tell_post_copy_failed(self.operation, &why);
                    }
                }
                _ => {}
            }
        }
    }

    fn note_moved(&mut self) {
        let now = self.now();
        self.state.moved(now);
        (self.has_moved, self.busy_since) = (true, None);
    }

    /// What to say after a try that failed so.
    async fn reason(&mut self, error: &HypervisorError) -> Failure {
        self.has_stream = matches!(error, HypervisorError::Conflict(_));
        if let HypervisorError::Retry(_) = error {
            self.state.target_is_silent();
            return of_hypervisor(error);
        }
        let now = self.now();
        self.state.target_answers(now);
        if self.stream() == BrokenStream::Leave {
            self.busy_since = None;
        }
        match (self.stream(), error) {
            // It may go on by itself, and is not to be destroyed for want of a little time.
            (BrokenStream::Leave, _) => failure(FailureKind::Broken, LEFT_ALONE),
            (BrokenStream::Sever, HypervisorError::Refused(why)) => {
                failure(FailureKind::Refused, format!("{CANNOT_GO_ON}: {why}. {CURE}"))
            }
            (BrokenStream::Sever, _) => self.hangs().await.unwrap_or_else(|| of_hypervisor(error)),
        }
    }

    /// What to say where QEMU on the target hangs; none where it is not known to.
    async fn hangs(&mut self) -> Option<Failure> {
        let asked = self.commands.hypervisor.is_busy_at_target(self.transfer.clone());
        // Silence says nothing either way, and is no look at which it was found at work.
        let busy = tokio::time::timeout(TARGET_SAYS_WITHIN, asked).await;
        if !matches!(busy, Ok(Ok(true))) {
            self.busy_since = None;
            return None;
        }
        let since = *self.busy_since.get_or_insert_with(Instant::now);
        // Refused, unlike a line that is cut: no further try helps.
        let hangs = since.elapsed() >= self.commands.recovery.hangs_after;
        hangs.then(|| failure(FailureKind::Refused, format!("{CANNOT_GO_ON}: {HANGS}. {CURE}")))
    }
}
