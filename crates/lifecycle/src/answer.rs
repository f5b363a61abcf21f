//! What agents' answers to commands mean to the state machine.

use crate::{Effect, Failure, FailureKind, MigrationEvent, TargetFate};

/// What an agent's answer means to the state machine.
pub fn answer(effect: Effect, failure: Option<Failure>) -> Option<MigrationEvent> {
    use MigrationEvent as E;
    let Some(failure) = failure else {
        return match effect {
            Effect::AcceptIncoming => Some(E::TargetAccepted),
            // What becomes of these is told by the migration's own updates.
            Effect::StartMigration | Effect::CancelMigration => None,
            Effect::ResumeAtTarget | Effect::StartAtTarget => Some(E::TargetRuns),
            Effect::DefineAtTarget => Some(E::TargetDefined),
            Effect::RemoveAtSource => Some(E::SourceClean),
            Effect::DiscardAtTarget => Some(E::TargetCopy(TargetFate::Clean)),
            Effect::ResumeAtSource => Some(E::SourceRuns),
        };
    };
    match effect {
        Effect::AcceptIncoming => Some(E::TargetRefused(failure)),
        Effect::StartMigration => Some(E::SourceRefused(failure)),
        Effect::CancelMigration => None,
        Effect::ResumeAtTarget | Effect::StartAtTarget => Some(E::TargetResumeFailed(failure)),
        Effect::DefineAtTarget => Some(E::TargetDefineFailed(failure)),
        Effect::RemoveAtSource => match failure.kind {
            FailureKind::Gone => Some(E::SourceClean),
            _ => Some(E::SourceCleanFailed(failure)),
        },
        Effect::DiscardAtTarget => match failure.kind {
            FailureKind::Gone => Some(E::TargetCopy(TargetFate::Clean)),
            FailureKind::Conflict | FailureKind::Refused => Some(E::TargetCopy(TargetFate::HasRun)),
            FailureKind::Retry
            | FailureKind::Cancelled
            | FailureKind::Broken
            | FailureKind::StaleEpoch
            | FailureKind::Preflight => Some(E::TargetDiscardFailed(failure)),
        },
        Effect::ResumeAtSource => Some(E::SourceResumeFailed(failure)),
    }
}
