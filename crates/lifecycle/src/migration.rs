//! The live migration of one guest.
//!
//! ```text
//!  Admitted ─Begin─► Offering ─TargetAccepted─► Transferring ─SourceGone─► Resuming ─TargetRuns─► Completed
//!     │                 │ TargetRefused            │    │ CancelRequested     │ GuestLost
//!     │ CancelRequested │ CancelRequested          │    ▼                     ▼
//!     ▼                 ▼                          │  Cancelling ─SourceGone─► (Resuming)   Failed
//!  Cancelled         CleaningUp ◄─SourceFailed─────┴────┘ SourceFailed
//!                       │ TargetClean
//!                       ▼
//!                    Returning ─SourceRuns─► Failed or Cancelled
//! ```
//!
//! An admitted migration waits for its turn ([`crate::queue`]); one that may not begin any more
//! is withdrawn and ends in `Failed`.
//!
//! | state | owner record | may run |
//! |---|---|---|
//! | Admitted | settled at the source | source |
//! | Offering, Transferring, Cancelling, CleaningUp, Returning | leaving, at the source | source |
//! | Resuming | arriving, at the target | target |
//! | Completed | settled at the target | target |
//! | Failed, Cancelled | settled where it was | that host |
//!
//! The copy on the target arrives paused and only an effect of `Resuming` starts it, and
//! `Resuming` is entered only on proof that no process of the guest is left on the source.
//! So at every moment at most one host may run the guest, whatever message is lost.

use drover_model::{
    Epoch, GuestId, HostId, MigrationOutcome, MigrationProgress, MigrationSettings, OperationId,
    OwnerPhase, OwnerRecord,
};
use serde::{Deserialize, Serialize};

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
    /// The source's job is over and the guest is still there.
    SourceFailed(Failure),
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
use MigrationEvent as E;
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
        }
    }

    /// What the present state asks for; to be said again after a restart, a reconnect or
    /// a while without an answer.
    pub fn effects_again(&self) -> Vec<Effect> {
        match self.state {
            S::Offering => vec![F::AcceptIncoming],
            S::Transferring => vec![F::StartMigration],
            S::Cancelling => vec![F::CancelMigration, F::StartMigration],
            S::CleaningUp { .. } => vec![F::DiscardAtTarget],
            S::Returning { .. } => vec![F::ResumeAtSource],
            S::Resuming => vec![F::ResumeAtTarget],
            S::Cancelled | S::Failed { .. } if self.target_unclean => vec![F::DiscardAtTarget],
            S::Admitted | S::Completed { .. } | S::Cancelled | S::Failed { .. } => vec![],
        }
    }

    /// The host that an effect is asked of.
    pub const fn host_of(&self, effect: Effect) -> HostId {
        match effect {
            F::AcceptIncoming | F::ResumeAtTarget | F::DiscardAtTarget => self.to,
            F::StartMigration | F::CancelMigration | F::ResumeAtSource => self.from,
        }
    }

    /// What follows from an event.
    pub fn step(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match event {
            E::Progress(progress) => self.heard(*progress),
            E::CancelRequested => self.cancel(),
            E::Begin | E::Withdrawn(_) | E::TargetAccepted | E::TargetRefused(_) => {
                self.before_transfer(event)
            }
            E::TargetUnreachable => self.without_target(),
            E::SourceGone | E::SourceFinished(_) | E::SourceFailed(_) => self.source_says(event),
            E::TargetRuns | E::TargetResumeFailed(_) => self.resuming(event),
            E::TargetCopy(_)
            | E::TargetDiscardFailed(_)
            | E::SourceRuns
            | E::SourceResumeFailed(_) => self.undoing(event),
        }
    }

    fn heard(&self, progress: MigrationProgress) -> Result<Stepped, Ignored> {
        match self.state {
            S::Transferring | S::Cancelling => {
                let migration = Self { progress: Some(progress), ..self.clone() };
                Ok(Stepped { migration, owner: None, effects: vec![] })
            }
            _ => Err(Ignored),
        }
    }

    fn cancel(&self) -> Result<Stepped, Ignored> {
        let asked = Self { cancel_requested: true, ..self.clone() };
        match self.state {
            S::Admitted => Ok(asked.to(S::Cancelled)),
            S::Offering => Ok(asked.to(S::CleaningUp { cause: cancelled() })),
            S::Transferring => Ok(asked.to(S::Cancelling)),
            // Too late, or already so: the guest's state has been handed over.
            S::Cancelling
            | S::CleaningUp { .. }
            | S::Returning { .. }
            | S::Resuming
            | S::Completed { .. }
            | S::Cancelled
            | S::Failed { .. } => Err(Ignored),
        }
    }

    fn before_transfer(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match (&self.state, event) {
            (S::Admitted, E::Begin) => Ok(self
                .clone()
                .owned(self.from, OwnerPhase::Leaving { to: self.to, operation: self.operation })
                .then(S::Offering)),
            (S::Admitted, E::Withdrawn(cause)) => {
                Ok(self.clone().to(S::Failed { cause: cause.clone(), guest_lost: false }))
            }
            (S::Offering, E::TargetAccepted) => Ok(self.clone().to(S::Transferring)),
            (S::Offering, E::TargetRefused(failure)) => match failure.kind {
                // Nothing is known about the effect: the driver asks again in a while.
                FailureKind::Retry => Ok(self.waits()),
                _ => Ok(self.clone().to(S::CleaningUp { cause: failure.clone() })),
            },
            _ => Err(Ignored),
        }
    }

    fn source_says(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match (&self.state, event) {
            (S::Transferring | S::Cancelling, E::SourceGone) => Ok(self.clone().hand_over()),
            (S::Transferring | S::Cancelling, E::SourceFinished(outcome)) => {
                Ok(Self { outcome: Some(*outcome), ..self.clone() }.hand_over())
            }
            (S::Transferring | S::Cancelling, E::SourceFailed(failure)) => match failure.kind {
                // Nothing is known about the effect: the driver asks again in a while.
                FailureKind::Retry => Ok(self.waits()),
                _ => Ok(self.clone().to(S::CleaningUp { cause: failure.clone() })),
            },
            // The statistics may come after the handover.
            (S::Resuming, E::SourceFinished(outcome)) => {
                let migration = Self { outcome: Some(*outcome), ..self.clone() };
                Ok(Stepped { migration, owner: None, effects: vec![] })
            }
            (S::Completed { outcome: None }, E::SourceFinished(outcome)) => {
                let state = S::Completed { outcome: Some(*outcome) };
                let migration = Self { outcome: Some(*outcome), state, ..self.clone() };
                Ok(Stepped { migration, owner: None, effects: vec![] })
            }
            _ => Err(Ignored),
        }
    }

    /// The guest must not wait for a host that may never come back. Its copy there, if
    /// there is one, is paused, and only [`MigrationState::Resuming`] would start it.
    fn without_target(&self) -> Result<Stepped, Ignored> {
        match &self.state {
            S::Offering => {
                let message = "the target does not answer".to_owned();
                let cause = Failure { kind: FailureKind::Retry, message };
                Ok(self.clone().to(S::CleaningUp { cause }))
            }
            S::CleaningUp { cause } => {
                let message = format!(
                    "{}; the target is out of reach: its copy is discarded when it answers",
                    cause.message
                );
                let cause = Failure { kind: cause.kind, message };
                Ok(Self { target_unclean: true, ..self.clone() }.to(S::Returning { cause }))
            }
            // Resuming: the guest is there and nowhere else.
            _ => Err(Ignored),
        }
    }

    /// The debt of a migration that ended without its target.
    fn cleaned_later(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        let paid = match event {
            // A copy that has run is another one: it came later, by another way.
            E::TargetCopy(_) => true,
            // So is one of a later epoch.
            E::TargetDiscardFailed(failure) => failure.kind == FailureKind::StaleEpoch,
            _ => false,
        };
        if !paid {
            return Err(Ignored);
        }
        let migration = Self { target_unclean: false, ..self.clone() };
        Ok(Stepped { migration, owner: None, effects: vec![] })
    }

    fn resuming(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match (&self.state, event) {
            (S::Resuming, E::TargetRuns) => {
                let outcome = self.outcome;
                Ok(self.clone().owned(self.to, OwnerPhase::Settled).then(S::Completed { outcome }))
            }
            (S::Resuming, E::TargetResumeFailed(failure)) => match failure.kind {
                FailureKind::Retry | FailureKind::Conflict => Ok(self.waits()),
                FailureKind::Gone
                | FailureKind::Refused
                | FailureKind::Cancelled
                | FailureKind::Broken
                | FailureKind::StaleEpoch => Ok(self
                    .clone()
                    .owned(self.to, OwnerPhase::Settled)
                    .then(S::Failed { cause: failure.clone(), guest_lost: true })),
            },
            _ => Err(Ignored),
        }
    }

    fn undoing(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        if self.state.is_finished() && self.target_unclean {
            return self.cleaned_later(event);
        }
        match (&self.state, event) {
            // In mid-return the target answers after all.
            (S::Returning { .. }, E::TargetCopy(_)) if self.target_unclean => {
                self.cleaned_later(event)
            }
            (S::CleaningUp { cause }, E::TargetCopy(TargetFate::Clean)) => {
                Ok(self.clone().to(S::Returning { cause: cause.clone() }))
            }
            // The copy there may not be ours to destroy; an operator has to look.
            (S::CleaningUp { cause }, E::TargetCopy(TargetFate::HasRun)) => {
                let cause = Failure {
                    kind: FailureKind::Broken,
                    message: format!(
                        "{}; and the target holds a copy that has run: it was left alone",
                        cause.message
                    ),
                };
                Ok(self.clone().to(S::Returning { cause }))
            }
            (S::CleaningUp { .. }, E::TargetDiscardFailed(_))
            | (
                S::Returning { .. },
                E::SourceResumeFailed(Failure { kind: FailureKind::Retry, .. }),
            ) => Ok(Stepped { migration: self.clone(), owner: None, effects: vec![] }),
            (S::Returning { cause }, E::SourceRuns) => {
                let ended = if cause.kind == FailureKind::Cancelled {
                    S::Cancelled
                } else {
                    S::Failed { cause: cause.clone(), guest_lost: false }
                };
                Ok(self.clone().owned(self.from, OwnerPhase::Settled).then(ended))
            }
            (S::Returning { cause }, E::SourceResumeFailed(failure)) => {
                let cause = Failure {
                    kind: cause.kind,
                    message: format!("{}; then, at the source: {}", cause.message, failure.message),
                };
                let guest_lost = failure.kind == FailureKind::Gone;
                Ok(self
                    .clone()
                    .owned(self.from, OwnerPhase::Settled)
                    .then(S::Failed { cause, guest_lost }))
            }
            _ => Err(Ignored),
        }
    }

    /// The source is proven empty: the target owns the guest from here on.
    fn hand_over(self) -> Stepped {
        let arriving = OwnerPhase::Arriving { from: self.from, operation: self.operation };
        let to = self.to;
        self.owned(to, arriving).then(S::Resuming)
    }

    /// The next state, without a change of owner.
    fn to(self, state: MigrationState) -> Stepped {
        let migration = Self { state, ..self };
        let effects = match migration.state {
            // Only the cancel itself: the transfer is under way already.
            S::Cancelling => vec![F::CancelMigration],
            _ => migration.effects_again(),
        };
        Stepped { migration, owner: None, effects }
    }

    /// Nothing changes; the driver says again what the state asks for.
    fn waits(&self) -> Stepped {
        Stepped { migration: self.clone(), owner: None, effects: vec![] }
    }

    fn owned(self, host: HostId, phase: OwnerPhase) -> Owned {
        let expected = self.epoch;
        let epoch = expected.next();
        let record = OwnerRecord { guest: self.guest, host, epoch, phase };
        Owned { migration: Self { epoch, ..self }, owner: OwnerChange { expected, record } }
    }
}

/// A migration whose owner changes with its next state.
struct Owned {
    migration: Migration,
    owner: OwnerChange,
}

impl Owned {
    fn then(self, state: MigrationState) -> Stepped {
        Stepped { owner: Some(self.owner), ..self.migration.to(state) }
    }
}

fn cancelled() -> Failure {
    Failure { kind: FailureKind::Cancelled, message: "cancelled on request".to_owned() }
}
