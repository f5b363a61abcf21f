//! The migration of one guest: live, cold, or from a dead host.
//!
//! ```text
//!  Admitted ─Begin─► Offering ─TargetAccepted─► Transferring ─SourceGone─► Resuming ─TargetRuns─► Completed
//!     │                 │ TargetRefused          │  │  │ CancelRequested     │ GuestLost
//!     │ CancelRequested │ CancelRequested        │  │  ▼                     ▼
//!     ▼                 ▼                        │  │ Cancelling ─SourceGone─► (Resuming)   Failed
//!  Cancelled         CleaningUp ◄─SourceFailed───┼──┴────┘ SourceFailed
//!                       │ TargetClean            │
//!                       ▼                        ├─WantsPostCopy─► PostCopy ─SourceGone─► (Resuming)
//!                    Returning ─SourceRuns─►     │
//!                        Failed or Cancelled     └─SourceCopied─► Defining ─TargetDefined─►
//!                                                  (Resuming to start it, or Completed)
//! ```
//!
//! An admitted migration waits for its turn ([`crate::queue`]); one that may not begin any more
//! is withdrawn and ends in `Failed`.
//!
//! | state | owner record | may run |
//! |---|---|---|
//! | Admitted | settled at the source | source |
//! | Offering, Transferring, Cancelling, CleaningUp, Returning | leaving, at the source | source |
//! | PostCopy | arriving, at the target | whichever QEMU lets run: never both |
//! | CleaningUp after a rescue or post-copy, until the target has said that it has no copy | arriving, at the target | as before |
//! | Defining | leaving, at the source | nobody: it is shut off |
//! | Resuming | arriving, at the target | target |
//! | Completed | settled at the target | target |
//! | Failed, Cancelled | settled where it was | that host |
//!
//! The copy on the target arrives paused and only an effect of `Resuming` starts it, and
//! `Resuming` is entered only on proof that no process of the guest is left on the source.
//! So at every moment at most one host may run the guest, whatever message is lost.
//!
//! Post-copy is the exception: there libvirt starts the target's copy itself, while the
//! source still holds pages. The owner moves first, and from then on nothing resumes the
//! source's copy or destroys the target's, unless the source proves that it still runs the
//! guest. QEMU lets no source go on that has switched. Where the source cannot prove it, the
//! target is asked first, and stays the owner until it has answered: a copy that never ran
//! goes, and one that has run is the guest.
//!
//! A cold move begins and ends with a guest that is shut off; the target's copy is checked
//! and defined before the owner moves, and the source's definition and disks go after that.
//! A rescue has no source to ask: whoever asked for it vouches that the host is dead, and
//! the definition there is removed when the host comes back.

use drover_model::{
    ColdCopy, DiskCopy, Epoch, GuestId, HostId, MigrationMode, MigrationOutcome, MigrationProgress,
    MigrationSettings, OperationId, OwnerRecord,
};
use serde::{Deserialize, Serialize};

mod step;
mod undo;

/// Why an agent could not do something, by what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Out of reach; ask again.
    Retry,
    /// The guest is in another state than needed.
    Conflict,
    /// Refused, and would be again.
    Refused,
    /// No such guest there.
    Gone,
    /// Ended on request.
    Cancelled,
    /// A fault inside.
    Broken,
    /// The agent has seen a higher epoch.
    StaleEpoch,
    /// The check before the move speaks against it; nothing was begun.
    Preflight,
}

/// Why an agent could not do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Kind.
    pub kind: FailureKind,
    /// What the agent said.
    pub message: String,
}

/// What became of the target's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetFate {
    /// It was destroyed, or there was none.
    Clean,
    /// The target says that the copy runs or has run: it must not be destroyed.
    HasRun,
}

/// Where a migration is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum MigrationState {
    /// Accepted and stored; nothing is done yet.
    Admitted,
    /// The target is asked to be ready.
    Offering,
    /// The source sends the guest's memory.
    Transferring,
    /// The source is asked to end the transfer.
    Cancelling,
    /// The transfer failed; the target's copy is being discarded.
    CleaningUp {
        /// Why it failed.
        cause: Failure,
    },
    /// The target is clean; the source is asked to let the guest run, should it be paused.
    Returning {
        /// Why it failed.
        cause: Failure,
    },
    /// The target may run the guest before all of its memory is there.
    PostCopy {
        /// Why it stands still, where it does: the guest's memory is on both hosts, and
        /// neither copy may be destroyed.
        trouble: Option<Failure>,
    },
    /// All of a guest that is shut off has been copied; the target is asked to check and
    /// define it.
    Defining {
        /// What the source handed over.
        copied: ColdCopy,
    },
    /// The source's copy is gone; the target is asked to let the guest run.
    Resuming,
    /// The guest runs on the target.
    Completed {
        /// What was measured; the source tells it a moment after the guest runs.
        outcome: Option<MigrationOutcome>,
    },
    /// Ended on request; the guest runs on the source.
    Cancelled,
    /// It did not work.
    Failed {
        /// Why.
        cause: Failure,
        /// Whether the guest runs nowhere now.
        guest_lost: bool,
    },
}

/// A migration as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// Its id.
    pub operation: OperationId,
    /// The guest.
    pub guest: GuestId,
    /// Where it runs.
    pub from: HostId,
    /// Where it goes.
    pub to: HostId,
    /// How.
    pub settings: MigrationSettings,
    /// The owner's epoch as of the last change by this operation.
    pub epoch: Epoch,
    /// Where it is.
    pub state: MigrationState,
    /// Somebody asked to cancel it.
    pub cancel_requested: bool,
    /// Last progress heard; not part of any decision.
    pub progress: Option<MigrationProgress>,
    /// Statistics of the job, once the source has told them.
    pub outcome: Option<MigrationOutcome>,
    /// The target was out of reach when its copy was to be discarded: that is still to be
    /// done, also after the end. Such a copy is paused and nothing ever resumes it.
    #[serde(default)]
    pub target_unclean: bool,
    /// The guest is the target's, and the source still has a definition or disks of it,
    /// which it is asked to remove: also after the end.
    #[serde(default)]
    pub source_unclean: bool,
    /// Disks that are copied with the guest.
    #[serde(default)]
    pub disks: Vec<DiskCopy>,
    /// The source's job ended with the guest paused there: should the target's copy have
    /// run, the guest is the target's, and resuming the source's would run it twice.
    #[serde(default)]
    pub left_paused: bool,
    /// On the way back the guest stays the target's until that says that it has no copy: it
    /// may run there.
    #[serde(default)]
    pub may_run_there: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum MigrationEvent {
    /// The concurrency limits let it start.
    Begin,
    /// What it was admitted on holds no more: it does not begin.
    Withdrawn(Failure),
    /// Somebody wants it cancelled.
    CancelRequested,
    /// The target is ready.
    TargetAccepted,
    /// The target will not have it.
    TargetRefused(Failure),
    /// The source is sending, so far.
    Progress(MigrationProgress),
    /// No process of the guest is left on the source, and its state has been sent.
    SourceGone,
    /// The source's job is over and the guest is gone from there.
    SourceFinished(MigrationOutcome),
    /// The source's job is over and the guest is still there; `Gone` where its process ended
    /// without having been sent.
    SourceFailed(Failure),
    /// The source did not take the command: what runs there is not known by that.
    SourceRefused(Failure),
    /// The target lets the guest run.
    TargetRuns,
    /// The target could not let it run.
    TargetResumeFailed(Failure),
    /// The target's copy.
    TargetCopy(TargetFate),
    /// The target's copy could not be discarded.
    TargetDiscardFailed(Failure),
    /// The target has been out of reach for so long that it is not waited for.
    TargetUnreachable,
    /// The guest runs on the source.
    SourceRuns,
    /// The source could not let it run.
    SourceResumeFailed(Failure),
    /// The target has measured how long the network saw nothing of the guest.
    Blackout {
        /// Milliseconds.
        millis: u64,
        /// It had not answered again by then.
        still_silent: bool,
    },
    /// Somebody changes how the transfer is done while it runs.
    Adjust(MigrationSettings),
    /// The transfer does not converge, and the source asks to switch to post-copy.
    WantsPostCopy(String),
    /// The transfer broke after the switch to post-copy.
    PostCopyFailed(Failure),
    /// The source has copied a guest that is shut off.
    SourceCopied(ColdCopy),
    /// The target has checked and defined it.
    TargetDefined,
    /// The target could not, or what arrived is not what was sent.
    TargetDefineFailed(Failure),
    /// Nothing of the guest is left on the source.
    SourceClean,
    /// Something is left there.
    SourceCleanFailed(Failure),
}

/// What the shell is asked to do. Each may be repeated at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Ask the target to be ready.
    AcceptIncoming,
    /// Ask the source to send the guest.
    StartMigration,
    /// Ask the source to end the transfer.
    CancelMigration,
    /// Ask the target to let the guest run.
    ResumeAtTarget,
    /// Ask the target to destroy the copy that never ran.
    DiscardAtTarget,
    /// Ask the source to let the guest run.
    ResumeAtSource,
    /// Ask the target to check what arrived and to define the guest.
    DefineAtTarget,
    /// Ask the target to start the guest, which is shut off.
    StartAtTarget,
    /// Ask the source to remove its definition and disks of the guest.
    RemoveAtSource,
}

/// The owner record that a new state implies; stored in the same commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerChange {
    /// The owner's epoch must still be this one.
    pub expected: Epoch,
    /// The new record.
    pub record: OwnerRecord,
}

/// The outcome of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    /// The migration in its new state: store it.
    pub migration: Migration,
    /// Store this with it.
    pub owner: Option<OwnerChange>,
    /// Then do these, in order.
    pub effects: Vec<Effect>,
}

/// The event means nothing in this state: a repeat, or late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ignored;

use Effect as F;
use MigrationState as S;

impl MigrationState {
    /// The word users see.
    pub const fn as_str(&self) -> &'static str {
        match self {
            S::Admitted => "admitted",
            S::Offering => "offering",
            S::Transferring => "transferring",
            S::Cancelling => "cancelling",
            S::CleaningUp { .. } => "cleaning-up",
            S::Returning { .. } => "returning",
            S::PostCopy { .. } => "post-copy",
            S::Defining { .. } => "defining",
            S::Resuming => "resuming",
            S::Completed { .. } => "completed",
            S::Cancelled => "cancelled",
            S::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more happens.
    pub const fn is_finished(&self) -> bool {
        matches!(self, S::Completed { .. } | S::Cancelled | S::Failed { .. })
    }
}

impl Migration {
    /// A new migration of a guest whose owner record is `owner`, settled at the source.
    pub const fn new(
        operation: OperationId,
        owner: OwnerRecord,
        to: HostId,
        settings: MigrationSettings,
    ) -> Self {
        Self {
            operation,
            guest: owner.guest,
            from: owner.host,
            to,
            settings,
            epoch: owner.epoch,
            state: S::Admitted,
            cancel_requested: false,
            progress: None,
            outcome: None,
            target_unclean: false,
            source_unclean: false,
            disks: Vec::new(),
            left_paused: false,
            may_run_there: false,
        }
    }

    /// Whether the source sends the guest under post-copy.
    pub const fn is_post_copy(&self) -> bool {
        matches!(self.state, S::PostCopy { .. })
    }

    /// Why its transfer stands still after the switch to post-copy.
    pub const fn trouble(&self) -> Option<&Failure> {
        match &self.state {
            S::PostCopy { trouble } => trouble.as_ref(),
            _ => None,
        }
    }

    /// Whether libvirt may have let the target's copy run, so that one which is shut off there is
    /// the guest itself.
    pub fn may_have_run_there(&self) -> bool {
        self.may_run_there && self.settings.mode == MigrationMode::Live
    }

    /// What the present state asks for; to be said again after a restart, a reconnect or
    /// a while without an answer.
    pub fn effects_again(&self) -> Vec<Effect> {
        match self.state {
            S::Offering => vec![F::AcceptIncoming],
            S::Transferring | S::PostCopy { .. } => vec![F::StartMigration],
            S::Cancelling => vec![F::CancelMigration, F::StartMigration],
            S::CleaningUp { .. } => vec![F::DiscardAtTarget],
            S::Returning { .. } => vec![F::ResumeAtSource],
            S::Defining { .. } => vec![F::DefineAtTarget],
            S::Resuming if self.settings.mode == MigrationMode::Live => vec![F::ResumeAtTarget],
            S::Resuming => vec![F::StartAtTarget],
            S::Cancelled | S::Failed { .. } | S::Completed { .. } => self.debts(),
            S::Admitted => vec![],
        }
    }

    /// Hosts that may still hold something of the guest from this move.
    pub fn unclean(&self) -> impl Iterator<Item = HostId> {
        let hosts = [(self.target_unclean, self.to), (self.source_unclean, self.from)];
        hosts.into_iter().filter(|(unclean, _)| *unclean).map(|(_, host)| host)
    }

    /// What is still to be cleaned up after the end.
    fn debts(&self) -> Vec<Effect> {
        let debts =
            [(self.target_unclean, F::DiscardAtTarget), (self.source_unclean, F::RemoveAtSource)];
        debts.into_iter().filter(|(owed, _)| *owed).map(|(_, effect)| effect).collect()
    }

    /// The host that an effect is asked of.
    pub const fn host_of(&self, effect: Effect) -> HostId {
        match effect {
            F::AcceptIncoming
            | F::ResumeAtTarget
            | F::DiscardAtTarget
            | F::DefineAtTarget
            | F::StartAtTarget => self.to,
            F::StartMigration | F::CancelMigration | F::ResumeAtSource | F::RemoveAtSource => {
                self.from
            }
        }
    }
}
