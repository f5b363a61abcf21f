//! What follows from an event, up to the handover.

use drover_model::{
    MigrationMode, MigrationOutcome, MigrationProgress, MigrationSettings, OwnerPhase, OwnerRecord,
    PostCopy,
};

use super::{
    Failure, FailureKind, Ignored, Migration, MigrationEvent, MigrationState, OwnerChange, Stepped,
};
use MigrationEvent as E;
use MigrationState as S;

use super::Effect as F;

impl Migration {
    /// What follows from an event.
    pub fn step(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match event {
            E::Progress(progress) => self.heard(*progress),
            E::CancelRequested => self.cancel(),
            E::Begin | E::Withdrawn(_) | E::TargetAccepted | E::TargetRefused(_) => {
                self.before_transfer(event)
            }
            E::TargetUnreachable => self.without_target(),
            E::Blackout { millis, .. } => self.measured(*millis),
            E::SourceGone | E::SourceFinished(_) | E::SourceFailed(_) | E::SourceRefused(_) => {
                self.source_says(event)
            }
            E::Adjust(settings) => self.adjusted(settings),
            E::WantsPostCopy(_) | E::PostCopyFailed(_) => self.post_copy(event),
            E::SourceCopied(_) | E::TargetDefined | E::TargetDefineFailed(_) => self.cold(event),
            E::TargetRuns | E::TargetResumeFailed(_) => self.resuming(event),
            E::SourceClean | E::SourceCleanFailed(_) => self.source_cleaned(event),
            E::TargetCopy(_)
            | E::TargetDiscardFailed(_)
            | E::SourceRuns
            | E::SourceResumeFailed(_) => self.undoing(event),
        }
    }

    fn heard(&self, progress: MigrationProgress) -> Result<Stepped, Ignored> {
        match self.state {
            S::Transferring | S::Cancelling => {
                Ok(Self { progress: Some(progress), ..self.clone() }.stays())
            }
            // It goes on, whatever it stood still for.
            S::PostCopy { .. } => {
                let state = S::PostCopy { trouble: None };
                Ok(Self { progress: Some(progress), state, ..self.clone() }.stays())
            }
            _ => Err(Ignored),
        }
    }

    fn cancel(&self) -> Result<Stepped, Ignored> {
        let asked = Self { cancel_requested: true, ..self.clone() };
        match self.state {
            S::Admitted => Ok(asked.to(S::Cancelled)),
            S::Offering | S::Defining { .. } => Ok(asked.cleans_up(cancelled())),
            S::Transferring => Ok(asked.to(S::Cancelling)),
            // Too late, or already so: the guest's state has been handed over, or is on both
            // hosts.
            S::Cancelling
            | S::CleaningUp { .. }
            | S::Returning { .. }
            | S::PostCopy { .. }
            | S::Resuming
            | S::Completed { .. }
            | S::Cancelled
            | S::Failed { .. } => Err(Ignored),
        }
    }

    fn before_transfer(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match (&self.state, event) {
            // There is no source to ask: the target owns the guest from here on.
            (S::Admitted, E::Begin) if self.settings.mode == MigrationMode::Rescue => {
                Ok(self.clone().hand_over())
            }
            (S::Admitted, E::Begin) => Ok(self.clone().leaving().then(S::Offering)),
            (S::Admitted, E::Withdrawn(cause)) => {
                Ok(self.clone().to(S::Failed { cause: cause.clone(), guest_lost: false }))
            }
            (S::Offering, E::TargetAccepted)
                if self.settings.post_copy == PostCopy::Now
                    && self.settings.mode == MigrationMode::Live =>
            {
                Ok(self.clone().arriving().then(S::PostCopy { trouble: None }))
            }
            (S::Offering, E::TargetAccepted) => Ok(self.clone().to(S::Transferring)),
            (S::Offering, E::TargetRefused(failure)) => match failure.kind {
                // Nothing is known about the effect: the driver asks again in a while.
                FailureKind::Retry => Ok(self.waits()),
                _ => Ok(self.clone().cleans_up(failure.clone())),
            },
            _ => Err(Ignored),
        }
    }

    fn source_says(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match (&self.state, event) {
            (S::Transferring | S::Cancelling | S::PostCopy { .. }, E::SourceGone) => {
                Ok(self.clone().hand_over())
            }
            (S::Transferring | S::Cancelling | S::PostCopy { .. }, E::SourceFinished(outcome)) => {
                Ok(Self { outcome: Some(*outcome), ..self.clone() }.hand_over())
            }
            // Nothing is known about the effect: the driver asks again in a while.
            (
                S::Transferring | S::Cancelling | S::PostCopy { .. },
                E::SourceFailed(Failure { kind: FailureKind::Retry, .. })
                | E::SourceRefused(Failure { kind: FailureKind::Retry, .. }),
            )
            // Its hypervisor may come to itself; meanwhile the switch may have come or not. And a
            // command from before the owner changed may come late.
            | (
                S::PostCopy { .. },
                E::SourceRefused(Failure {
                    kind: FailureKind::Broken | FailureKind::StaleEpoch,
                    ..
                }),
            ) => Ok(self.waits()),
            (S::Transferring, E::SourceFailed(failure)) => {
                Ok(self.left_by(failure).cleans_up(failure.clone()))
            }
            (S::Transferring, E::SourceRefused(failure)) => {
                Ok(self.clone().cleans_up(failure.clone()))
            }
            (S::Cancelling, E::SourceFailed(failure)) => {
                Ok(self.left_by(failure).cleans_up(ended_while_cancelling(failure)))
            }
            (S::Cancelling, E::SourceRefused(failure)) => {
                Ok(self.clone().cleans_up(ended_while_cancelling(failure)))
            }
            (S::PostCopy { .. }, E::SourceFailed(failure)) => match failure.kind {
                // Left paused, or ended: the target may have had it before.
                FailureKind::Conflict | FailureKind::Gone => {
                    Ok(self.left_by(failure).asks_target_first(failure.clone()))
                }
                // It runs there: the switch never came.
                _ => Ok(self.clone().cleans_up(failure.clone())),
            },
            (S::PostCopy { .. }, E::SourceRefused(failure)) => {
                Ok(self.clone().asks_target_first(failure.clone()))
            }
            // The statistics may come after the handover.
            (S::Resuming, E::SourceFinished(outcome)) => {
                Ok(Self { outcome: Some(*outcome), ..self.clone() }.stays())
            }
            (S::Completed { outcome: None }, E::SourceFinished(outcome)) => {
                let state = S::Completed { outcome: Some(*outcome) };
                Ok(Self { outcome: Some(*outcome), state, ..self.clone() }.stays())
            }
            _ => Err(Ignored),
        }
    }

    /// An agent says Conflict of a guest that it found paused.
    fn left_by(&self, failure: &Failure) -> Self {
        Self { left_paused: failure.kind == FailureKind::Conflict, ..self.clone() }
    }

    /// After the statistics; the target says it again, should it come before them.
    fn measured(&self, millis: u64) -> Result<Stepped, Ignored> {
        match self.state {
            S::Completed { outcome: Some(outcome) } if outcome.blackout_ms.is_none() => {
                let outcome = Some(MigrationOutcome { blackout_ms: Some(millis), ..outcome });
                Ok(Self { outcome, state: S::Completed { outcome }, ..self.clone() }.stays())
            }
            _ => Err(Ignored),
        }
    }

    /// New settings in mid-transfer; the source is told the same way as of the first.
    fn adjusted(&self, settings: &MigrationSettings) -> Result<Stepped, Ignored> {
        let adjusted = Self { settings: settings.clone(), ..self.clone() };
        match self.state {
            S::Transferring if settings.post_copy == PostCopy::Now => {
                Ok(adjusted.arriving().then(S::PostCopy { trouble: None }))
            }
            S::Transferring | S::PostCopy { .. } => {
                let state = self.state.clone();
                Ok(adjusted.to(state))
            }
            S::Admitted | S::Offering => Ok(adjusted.stays()),
            _ => Err(Ignored),
        }
    }

    fn post_copy(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match (&self.state, event) {
            (S::Transferring, E::WantsPostCopy(_))
                if self.settings.post_copy != PostCopy::Never =>
            {
                Ok(self.clone().arriving().then(S::PostCopy { trouble: None }))
            }
            (S::PostCopy { .. }, E::PostCopyFailed(failure)) => {
                let state = S::PostCopy { trouble: Some(failure.clone()) };
                Ok(Self { state, ..self.clone() }.stays())
            }
            _ => Err(Ignored),
        }
    }

    fn cold(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match (&self.state, event) {
            (S::Transferring, E::SourceCopied(copied)) => {
                Ok(self.clone().to(S::Defining { copied: copied.clone() }))
            }
            (S::Cancelling, E::SourceCopied(_)) => Ok(self.clone().cleans_up(cancelled())),
            (S::Defining { copied }, E::TargetDefined) => {
                let outcome = Some(copied.outcome);
                let copied = Self { outcome, ..self.clone() };
                if self.settings.auto_start {
                    Ok(copied.hand_over())
                } else {
                    let left = Self { source_unclean: true, ..copied };
                    Ok(left.settled_at_target().then(S::Completed { outcome }))
                }
            }
            (S::Defining { .. }, E::TargetDefineFailed(failure)) => match failure.kind {
                FailureKind::Retry => Ok(self.waits()),
                _ => Ok(self.clone().cleans_up(failure.clone())),
            },
            _ => Err(Ignored),
        }
    }

    fn resuming(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        match (&self.state, event) {
            (S::Resuming, E::TargetRuns) => {
                let outcome = self.outcome;
                // libvirt undefines a guest that left live, unless it died just then.
                let arrived = Self { source_unclean: true, ..self.clone() };
                Ok(arrived.settled_at_target().then(S::Completed { outcome }))
            }
            (S::Resuming, E::TargetResumeFailed(failure)) => match failure.kind {
                FailureKind::Retry | FailureKind::Conflict => Ok(self.waits()),
                // Its memory is there and nowhere else: it is not given up for a disk that
                // cannot be had now.
                FailureKind::Broken if self.settings.mode == MigrationMode::Live => {
                    Ok(self.waits())
                }
                FailureKind::Gone
                | FailureKind::Refused
                | FailureKind::Cancelled
                | FailureKind::Broken
                | FailureKind::StaleEpoch
                | FailureKind::Preflight => Ok(self.not_resumed(failure)),
            },
            _ => Err(Ignored),
        }
    }

    fn not_resumed(&self, failure: &Failure) -> Stepped {
        match self.settings.mode {
            // Nothing arrived, so its process ended in mid-transfer; what is left of it, its
            // definition, is at the source. The target may have images of it.
            MigrationMode::Live if failure.kind == FailureKind::Gone => {
                let message =
                    format!("it ended during its transfer; the target: {}", failure.message);
                let cause = Failure { kind: failure.kind, message };
                self.clone().cleans_up(cause)
            }
            MigrationMode::Live => {
                let state = S::Failed { cause: failure.clone(), guest_lost: true };
                let left = Self { source_unclean: true, ..self.clone() };
                left.settled_at_target().then(state)
            }
            // It is there, whole and checked; it just does not start.
            MigrationMode::Cold => {
                let message = format!("it has moved, but does not start: {}", failure.message);
                let cause = Failure { kind: failure.kind, message };
                let left = Self { source_unclean: true, ..self.clone() };
                left.settled_at_target().then(S::Failed { cause, guest_lost: false })
            }
            // Another host may be tried once it is certain that this one runs nothing.
            MigrationMode::Rescue => self.clone().asks_target_first(failure.clone()),
        }
    }

    /// The way back is under a new epoch: what was asked before and is still on its way must
    /// begin nothing that nobody waits for any more.
    pub(super) fn cleans_up(self, cause: Failure) -> Stepped {
        self.leaving().then(S::CleaningUp { cause })
    }

    /// The same where the target's copy may run: it is the target's until that denies it.
    fn asks_target_first(self, cause: Failure) -> Stepped {
        let asked = Self { may_run_there: true, ..self };
        asked.arriving().then(S::CleaningUp { cause })
    }

    /// The source is proven empty: the target owns the guest from here on.
    pub(super) fn hand_over(self) -> Stepped {
        self.arriving().then(S::Resuming)
    }

    /// The next state, without a change of owner.
    pub(super) fn to(self, state: MigrationState) -> Stepped {
        let migration = Self { state, ..self };
        let effects = match migration.state {
            // Only the cancel itself: the transfer is under way already.
            S::Cancelling => vec![F::CancelMigration],
            _ => migration.effects_again(),
        };
        Stepped { migration, owner: None, effects }
    }

    /// As it is now, and nothing is asked.
    pub(super) const fn stays(self) -> Stepped {
        Stepped { migration: self, owner: None, effects: vec![] }
    }

    /// Nothing changes; the driver says again what the state asks for.
    pub(super) fn waits(&self) -> Stepped {
        self.clone().stays()
    }

    /// It is the source's, and on its way.
    pub(super) fn leaving(self) -> Owned {
        let phase = OwnerPhase::Leaving { to: self.to, operation: self.operation };
        let from = self.from;
        self.owned(from, phase)
    }

    /// It is the target's, and on its way.
    fn arriving(self) -> Owned {
        let phase = OwnerPhase::Arriving { from: self.from, operation: self.operation };
        let to = self.to;
        self.owned(to, phase)
    }

    pub(super) fn settled_at_target(self) -> Owned {
        let to = self.to;
        self.owned(to, OwnerPhase::Settled)
    }

    pub(super) fn settled_at_source(self) -> Owned {
        let from = self.from;
        self.owned(from, OwnerPhase::Settled)
    }

    fn owned(self, host: drover_model::HostId, phase: OwnerPhase) -> Owned {
        let expected = self.epoch;
        let epoch = expected.next();
        let record = OwnerRecord { guest: self.guest, host, epoch, phase };
        Owned { migration: Self { epoch, ..self }, owner: OwnerChange { expected, record } }
    }
}

/// A migration whose owner changes with its next state.
pub(super) struct Owned {
    migration: Migration,
    owner: OwnerChange,
}

impl Owned {
    pub(super) fn then(self, state: MigrationState) -> Stepped {
        Stepped { owner: Some(self.owner), ..self.migration.to(state) }
    }
}

pub(super) fn cancelled() -> Failure {
    Failure { kind: FailureKind::Cancelled, message: "cancelled on request".to_owned() }
}

/// The transfer is over, which is what was asked for, whatever ended it. Of a job that libvirt
/// is told to abort the target's word may come first: its QEMU sees nothing but a connection
/// that ends.
fn ended_while_cancelling(failure: &Failure) -> Failure {
    if failure.kind == FailureKind::Cancelled {
        return failure.clone();
    }
    let message = format!("cancelled on request; it ended with: {}", failure.message);
    Failure { kind: FailureKind::Cancelled, message }
}
