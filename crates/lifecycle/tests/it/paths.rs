//! Each path through the machine, as one line per step.

use drover_lifecycle::{
    Effect, FailureKind as K, MigrationEvent as E, MigrationState as S, TargetFate,
};
use drover_model::{MigrationOutcome, OwnerPhase};

use crate::{SOURCE, admitted, failure, in_state};

/// `event → state, owner, effects` for each event.
fn check(events: &[E], expected: &[&str]) {
    let mut migration = admitted();
    let mut lines = Vec::new();
    for event in events {
        let line = match migration.step(event) {
            Err(_) => "ignored".to_owned(),
            Ok(stepped) => {
                let owner = stepped.owner.map_or(String::new(), |change| {
                    let host = if change.record.host == SOURCE { "source" } else { "target" };
                    let phase = match change.record.phase {
                        OwnerPhase::Settled => "settled",
                        OwnerPhase::Leaving { .. } => "leaving",
                        OwnerPhase::Arriving { .. } => "arriving",
                    };
                    assert_eq!(change.expected.next(), change.record.epoch);
                    format!(" [{phase}@{host} {}]", change.record.epoch)
                });
                migration = stepped.migration;
                format!("{}{owner} {:?}", migration.state.as_str(), stepped.effects)
            }
        };
        lines.push(line);
    }
    assert_eq!(lines, expected);
}

#[test]
fn the_good_path_hands_the_guest_over() {
    check(
        &[
            E::Begin,
            E::TargetAccepted,
            E::SourceGone,
            E::SourceFinished(MigrationOutcome::default()),
            E::TargetRuns,
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "resuming [arriving@target 7] [ResumeAtTarget]",
            "resuming []",
            "completed [settled@target 8] []",
        ],
    );
}

#[test]
fn a_failed_transfer_cleans_the_target_before_the_source_goes_on() {
    check(
        &[
            E::Begin,
            E::TargetAccepted,
            E::SourceFailed(failure(K::Refused)),
            E::TargetCopy(TargetFate::Clean),
            E::SourceRuns,
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "cleaning-up [DiscardAtTarget]",
            "returning [ResumeAtSource]",
            "failed [settled@source 7] []",
        ],
    );
}

#[test]
fn cancel_in_each_phase() {
    check(&[E::CancelRequested], &["cancelled []"]);
    check(
        &[E::Begin, E::CancelRequested, E::TargetCopy(TargetFate::Clean), E::SourceRuns],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "cleaning-up [DiscardAtTarget]",
            "returning [ResumeAtSource]",
            "cancelled [settled@source 7] []",
        ],
    );
    check(
        &[
            E::Begin,
            E::TargetAccepted,
            E::CancelRequested,
            E::SourceFailed(failure(K::Cancelled)),
            E::TargetCopy(TargetFate::Clean),
            E::SourceRuns,
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "cancelling [CancelMigration]",
            "cleaning-up [DiscardAtTarget]",
            "returning [ResumeAtSource]",
            "cancelled [settled@source 7] []",
        ],
    );
}

#[test]
fn a_cancel_that_comes_too_late_does_not_stop_the_handover() {
    check(
        &[
            E::Begin,
            E::TargetAccepted,
            E::CancelRequested,
            E::SourceGone,
            E::CancelRequested,
            E::TargetRuns,
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "cancelling [CancelMigration]",
            "resuming [arriving@target 7] [ResumeAtTarget]",
            "ignored",
            "completed [settled@target 8] []",
        ],
    );
}

#[test]
fn an_unanswered_target_is_asked_again_and_a_lost_guest_is_said_so() {
    check(
        &[
            E::Begin,
            E::TargetAccepted,
            E::SourceGone,
            E::TargetResumeFailed(failure(K::Retry)),
            E::TargetResumeFailed(failure(K::Gone)),
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "resuming [arriving@target 7] [ResumeAtTarget]",
            "resuming []",
            "failed [settled@target 8] []",
        ],
    );
}

#[test]
fn a_copy_that_has_run_is_never_destroyed() {
    let cause = failure(K::Broken);
    let stepped =
        in_state(S::CleaningUp { cause }).step(&E::TargetCopy(TargetFate::HasRun)).unwrap();
    let S::Returning { cause } = stepped.migration.state else { panic!("{stepped:?}") };
    assert!(cause.message.contains("left alone"));
}

#[test]
fn a_target_that_does_not_answer_is_not_waited_for_and_is_cleaned_later() {
    let offering = admitted().step(&E::Begin).unwrap().migration;
    let cleaning = offering.step(&E::TargetUnreachable).unwrap().migration;
    assert_eq!(cleaning.effects_again(), [Effect::DiscardAtTarget]);
    let returning = cleaning.step(&E::TargetUnreachable).unwrap();
    assert_eq!(returning.effects, [Effect::ResumeAtSource]);
    let failed = returning.migration.step(&E::SourceRuns).unwrap().migration;
    assert!(failed.state.is_finished());
    assert_eq!(failed.effects_again(), [Effect::DiscardAtTarget], "still owed");
    assert!(failed.step(&E::TargetDiscardFailed(failure(K::Retry))).is_err());
    let paid = failed.step(&E::TargetCopy(TargetFate::Clean)).unwrap().migration;
    assert!(paid.effects_again().is_empty());
    let stale = failed.step(&E::TargetDiscardFailed(failure(K::StaleEpoch)));
    assert!(stale.unwrap().migration.effects_again().is_empty(), "a later move's host by now");
}
