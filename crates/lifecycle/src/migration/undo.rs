//! The way back, and what is left to be cleaned up after the end.

use drover_model::MigrationMode;

use super::{
    Failure, FailureKind, Ignored, Migration, MigrationEvent, MigrationState, Stepped, TargetFate,
};
use MigrationEvent as E;
use MigrationState as S;

impl Migration {
    /// The guest must not wait for a host that may never come back. Its copy there, if
    /// there is one, is paused or shut off, and only [`MigrationState::Resuming`] starts it.
    pub(super) fn without_target(&self) -> Result<Stepped, Ignored> {
        match &self.state {
            S::Offering | S::Defining { .. } => {
                let message = "the target does not answer".to_owned();
                let cause = Failure { kind: FailureKind::Retry, message };
                Ok(self.clone().cleans_up(cause))
            }
            // It may run there.
            S::CleaningUp { .. } if self.may_run_there => Err(Ignored),
            S::CleaningUp { cause } => {
                let message = format!(
                    "{}; the target is out of reach: its copy is discarded when it answers",
                    cause.message
                );
                let cause = Failure { kind: cause.kind, message };
                Ok(Self { target_unclean: true, ..self.clone() }.goes_back(cause))
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
        Ok(Self { target_unclean: false, ..self.clone() }.stays())
    }

    /// The debt of a guest that has moved on.
    pub(super) fn source_cleaned(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        if !self.source_unclean {
            return Err(Ignored);
        }
        match event {
            E::SourceClean => {}
            // The host has had the guest again since: what is there belongs to that.
            E::SourceCleanFailed(failure) if failure.kind == FailureKind::StaleEpoch => {}
            _ => return Ok(self.waits()),
        }
        Ok(Self { source_unclean: false, ..self.clone() }.stays())
    }

    pub(super) fn undoing(&self, event: &MigrationEvent) -> Result<Stepped, Ignored> {
        if self.state.is_finished() && self.target_unclean {
            return self.cleaned_later(event);
        }
        match (&self.state, event) {
            // In mid-return the target answers after all.
            (S::Returning { .. }, E::TargetCopy(_)) if self.target_unclean => {
                self.cleaned_later(event)
            }
            (S::CleaningUp { cause }, E::TargetCopy(TargetFate::Clean)) => {
                Ok(self.clone().goes_back(cause.clone()))
            }
            (S::CleaningUp { cause }, E::TargetCopy(TargetFate::HasRun)) => {
                Ok(self.has_run_there(cause))
            }
            (S::CleaningUp { .. }, E::TargetDiscardFailed(_))
            | (
                S::Returning { .. },
                // Its memory is there and nowhere else.
                E::SourceResumeFailed(Failure {
                    kind: FailureKind::Retry | FailureKind::Conflict | FailureKind::Broken,
                    ..
                }),
            ) => Ok(self.waits()),
            (S::Returning { cause }, E::SourceRuns) => Ok(self.clone().ended(cause.clone(), false)),
            (S::Returning { cause }, E::SourceResumeFailed(failure)) => {
                let cause = Failure {
                    kind: cause.kind,
                    message: format!("{}; then, at the source: {}", cause.message, failure.message),
                };
                let guest_lost = matches!(failure.kind, FailureKind::Gone | FailureKind::Refused);
                Ok(self.clone().settled_at_source().then(S::Failed { cause, guest_lost }))
            }
            _ => Err(Ignored),
        }
    }

    /// The copy there may not be ours to destroy; an operator has to look. After a rescue it
    /// is the guest itself.
    fn has_run_there(&self, cause: &Failure) -> Stepped {
        let message = format!(
            "{}; and the target holds a copy that has run: it was left alone",
            cause.message
        );
        let cause = Failure { kind: FailureKind::Broken, message };
        if self.settings.mode == MigrationMode::Rescue {
            let left = Self { source_unclean: true, ..self.clone() };
            return left.settled_at_target().then(S::Failed { cause, guest_lost: false });
        }
        if self.left_paused || self.may_run_there {
            return self.clone().hand_over();
        }
        self.clone().goes_back(cause)
    }

    /// Nothing of the guest can run on the target. A guest that was running may be paused at
    /// the source; one that was shut off stays so.
    fn goes_back(self, cause: Failure) -> Stepped {
        match self.settings.mode {
            MigrationMode::Live if self.may_run_there => {
                let denied = Self { may_run_there: false, ..self };
                denied.leaving().then(S::Returning { cause })
            }
            MigrationMode::Live => self.to(S::Returning { cause }),
            MigrationMode::Cold => self.ended(cause, false),
            MigrationMode::Rescue => self.ended(cause, true),
        }
    }

    fn ended(self, cause: Failure, guest_lost: bool) -> Stepped {
        let state = if cause.kind == FailureKind::Cancelled {
            S::Cancelled
        } else {
            S::Failed { cause, guest_lost }
        };
        self.settled_at_source().then(state)
    }
}
