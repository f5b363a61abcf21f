//! Each path through the machine, as one line per step.

use drover_lifecycle::{
    Effect, FailureKind as K, Migration, MigrationEvent as E, MigrationState as S, TargetFate,
};
use drover_model::{
    Bytes, ColdCopy, DiskCopy, MigrationMode, MigrationOutcome, MigrationSettings, OwnerPhase,
    PostCopy,
};

use crate::{SOURCE, admitted, failure, in_state};

/// `event → state, owner, effects` for each event.
fn check(events: &[E], expected: &[&str]) {
    check_from(admitted(), events, expected);
}

fn check_from(mut migration: Migration, events: &[E], expected: &[&str]) {
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
            "completed [settled@target 8] [RemoveAtSource]",
        ],
    );
}

#[test]
fn the_blackout_is_taken_once_and_after_the_statistics() {
    check(
        &[
            E::Begin,
            E::TargetAccepted,
            E::SourceGone,
            E::Blackout { millis: 1, still_silent: false },
            E::TargetRuns,
            E::Blackout { millis: 2, still_silent: false },
            E::SourceFinished(MigrationOutcome::default()),
            E::Blackout { millis: 3, still_silent: false },
            E::Blackout { millis: 3, still_silent: false },
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "resuming [arriving@target 7] [ResumeAtTarget]",
            "ignored",
            "completed [settled@target 8] [RemoveAtSource]",
            "ignored",
            "completed []",
            "completed []",
            "ignored",
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
            "cleaning-up [leaving@source 7] [DiscardAtTarget]",
            "returning [ResumeAtSource]",
            "failed [settled@source 8] []",
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
            "cleaning-up [leaving@source 7] [DiscardAtTarget]",
            "returning [ResumeAtSource]",
            "cancelled [settled@source 8] []",
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
            "cleaning-up [leaving@source 7] [DiscardAtTarget]",
            "returning [ResumeAtSource]",
            "cancelled [settled@source 8] []",
        ],
    );
}

#[test]
fn a_cancel_is_one_whatever_ends_the_transfer() {
    // libvirt also says so in the target's words, where those come first.
    let ends = [K::Broken, K::Conflict, K::Refused].map(failure);
    let ends = ends.map(|failure| [E::SourceFailed(failure.clone()), E::SourceRefused(failure)]);
    for end in ends.into_iter().flatten() {
        let told = [
            E::Begin,
            E::TargetAccepted,
            E::CancelRequested,
            end.clone(),
            E::TargetCopy(TargetFate::Clean),
        ];
        let begun = [
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "cancelling [CancelMigration]",
            "cleaning-up [leaving@source 7] [DiscardAtTarget]",
            "returning [ResumeAtSource]",
        ];
        let lost = E::SourceResumeFailed(failure(K::Gone));
        for (last, state) in [
            (E::SourceRuns, "cancelled [settled@source 8] []"),
            (lost, "failed [settled@source 8] []"),
        ] {
            let told: Vec<_> = told.iter().cloned().chain([last]).collect();
            check(&told, &[&begun[..], &[state]].concat());
        }
    }
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
            "completed [settled@target 8] [RemoveAtSource]",
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
            E::TargetResumeFailed(failure(K::Broken)),
            E::TargetResumeFailed(failure(K::Gone)),
            E::TargetCopy(TargetFate::Clean),
            E::SourceResumeFailed(failure(K::Refused)),
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "resuming [arriving@target 7] [ResumeAtTarget]",
            "resuming []",
            "resuming []",
            "cleaning-up [leaving@source 8] [DiscardAtTarget]",
            "returning [ResumeAtSource]",
            "failed [settled@source 9] []",
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
fn a_copy_that_has_run_gets_the_guest_where_the_source_is_paused() {
    let paused = failure(K::Conflict);
    check(
        &[
            E::Begin,
            E::TargetAccepted,
            E::SourceFailed(paused),
            E::TargetCopy(TargetFate::HasRun),
            E::TargetRuns,
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "cleaning-up [leaving@source 7] [DiscardAtTarget]",
            "resuming [arriving@target 8] [ResumeAtTarget]",
            "completed [settled@target 9] [RemoveAtSource]",
        ],
    );
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

fn with(settings: MigrationSettings) -> Migration {
    Migration { settings, ..admitted() }
}

fn cold(auto_start: bool) -> Migration {
    with(MigrationSettings { mode: MigrationMode::Cold, auto_start, ..Default::default() })
}

fn copied() -> ColdCopy {
    ColdCopy { definition: String::new(), disks: vec![], outcome: MigrationOutcome::default() }
}

#[test]
fn a_cold_move_defines_before_the_owner_moves_and_removes_after() {
    check_from(
        cold(false),
        &[
            E::Begin,
            E::TargetAccepted,
            E::SourceCopied(copied()),
            E::TargetDefined,
            E::SourceCleanFailed(failure(K::Retry)),
            E::SourceClean,
            E::SourceClean,
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "defining [DefineAtTarget]",
            "completed [settled@target 7] [RemoveAtSource]",
            "completed []",
            "completed []",
            "ignored",
        ],
    );
    check_from(
        cold(true),
        &[E::Begin, E::TargetAccepted, E::SourceCopied(copied()), E::TargetDefined, E::TargetRuns],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "defining [DefineAtTarget]",
            "resuming [arriving@target 7] [StartAtTarget]",
            "completed [settled@target 8] [RemoveAtSource]",
        ],
    );
}

#[test]
fn a_cold_move_that_fails_starts_nothing_at_the_source() {
    for (event, last) in [
        (E::TargetDefineFailed(failure(K::Broken)), "failed [settled@source 8] []"),
        (E::CancelRequested, "cancelled [settled@source 8] []"),
    ] {
        check_from(
            cold(true),
            &[
                E::Begin,
                E::TargetAccepted,
                E::SourceCopied(copied()),
                event,
                E::TargetCopy(TargetFate::Clean),
            ],
            &[
                "offering [leaving@source 6] [AcceptIncoming]",
                "transferring [StartMigration]",
                "defining [DefineAtTarget]",
                "cleaning-up [leaving@source 7] [DiscardAtTarget]",
                last,
            ],
        );
    }
}

#[test]
fn a_rescue_starts_elsewhere_and_cleans_the_dead_host_when_it_is_back() {
    let rescue = with(MigrationSettings { mode: MigrationMode::Rescue, ..Default::default() });
    check_from(
        rescue.clone(),
        &[E::Begin, E::CancelRequested, E::TargetRuns, E::SourceClean],
        &[
            "resuming [arriving@target 6] [StartAtTarget]",
            "ignored",
            "completed [settled@target 7] [RemoveAtSource]",
            "completed []",
        ],
    );
    // Where it does not start another host may be tried, once this one certainly runs nothing.
    check_from(
        rescue,
        &[
            E::Begin,
            E::TargetResumeFailed(failure(K::Refused)),
            E::TargetUnreachable,
            E::TargetCopy(TargetFate::Clean),
        ],
        &[
            "resuming [arriving@target 6] [StartAtTarget]",
            "cleaning-up [arriving@target 7] [DiscardAtTarget]",
            "ignored",
            "failed [settled@source 8] []",
        ],
    );
}

#[test]
fn post_copy_moves_the_owner_first_and_destroys_nothing() {
    let allowed = with(MigrationSettings { post_copy: PostCopy::Allow, ..Default::default() });
    check_from(
        allowed.clone(),
        &[
            E::Begin,
            E::TargetAccepted,
            E::WantsPostCopy("slow".to_owned()),
            E::CancelRequested,
            E::PostCopyFailed(failure(K::Broken)),
            E::SourceGone,
            E::TargetRuns,
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "post-copy [arriving@target 7] [StartMigration]",
            "ignored",
            "post-copy []",
            "resuming [arriving@target 8] [ResumeAtTarget]",
            "completed [settled@target 9] [RemoveAtSource]",
        ],
    );
    // The source proves that it never switched: the guest is its own again.
    check_from(
        allowed,
        &[
            E::Begin,
            E::TargetAccepted,
            E::WantsPostCopy("slow".to_owned()),
            E::SourceFailed(failure(K::Refused)),
            E::TargetCopy(TargetFate::Clean),
            E::SourceRuns,
        ],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "post-copy [arriving@target 7] [StartMigration]",
            "cleaning-up [leaving@source 8] [DiscardAtTarget]",
            "returning [ResumeAtSource]",
            "failed [settled@source 9] []",
        ],
    );
    check(
        &[E::Begin, E::TargetAccepted, E::WantsPostCopy("slow".to_owned())],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "ignored",
        ],
    );
}

/// The source's copy was left paused, has ended, or nothing is known of it: it is the target's
/// until that says that it has no copy.
#[test]
fn out_of_post_copy_the_target_is_asked_first() {
    let now = with(MigrationSettings { post_copy: PostCopy::Now, ..Default::default() });
    let begun = ["offering [leaving@source 6] [AcceptIncoming]"];
    let switched = ["post-copy [arriving@target 7] [StartMigration]"];
    for failed in [
        E::SourceFailed(failure(K::Conflict)),
        E::SourceFailed(failure(K::Gone)),
        E::SourceRefused(failure(K::Refused)),
    ] {
        let events = [E::Begin, E::TargetAccepted, failed, E::TargetUnreachable];
        let asked = ["cleaning-up [arriving@target 8] [DiscardAtTarget]", "ignored"];
        let before = [&begun[..], &switched, &asked].concat();
        check_from(
            now.clone(),
            &[&events[..], &[E::TargetCopy(TargetFate::Clean), E::SourceRuns]].concat(),
            &[
                &before[..],
                &["returning [leaving@source 9] [ResumeAtSource]", "failed [settled@source 10] []"],
            ]
            .concat(),
        );
        check_from(
            now.clone(),
            &[&events[..], &[E::TargetCopy(TargetFate::HasRun), E::TargetRuns]].concat(),
            &[
                &before[..],
                &[
                    "resuming [arriving@target 9] [ResumeAtTarget]",
                    "completed [settled@target 10] [RemoveAtSource]",
                ],
            ]
            .concat(),
        );
    }
    for unknown in [K::Retry, K::Broken, K::StaleEpoch] {
        check_from(
            now.clone(),
            &[E::Begin, E::TargetAccepted, E::SourceRefused(failure(unknown))],
            &[begun[0], switched[0], "post-copy []"],
        );
    }
}

#[test]
fn settings_change_in_mid_transfer_and_the_source_is_told() {
    let faster = MigrationSettings { max_downtime_ms: 2000, ..Default::default() };
    let now = MigrationSettings { post_copy: PostCopy::Now, ..Default::default() };
    check(
        &[E::Begin, E::TargetAccepted, E::Adjust(faster), E::Adjust(now), E::SourceGone],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "transferring [StartMigration]",
            "post-copy [arriving@target 7] [StartMigration]",
            "resuming [arriving@target 8] [ResumeAtTarget]",
        ],
    );
}

#[test]
fn copied_disks_are_removed_from_the_source_once_the_guest_runs_elsewhere() {
    let disk = DiskCopy {
        allocation: Bytes(0),
        backing: None,
        disk: "vda".to_owned(),
        from: "/a".to_owned(),
        to: "/a".to_owned(),
        format: "raw".to_owned(),
        capacity: Bytes(1),
    };
    let migration = Migration { disks: vec![disk], ..admitted() };
    check_from(
        migration,
        &[E::Begin, E::TargetAccepted, E::SourceGone, E::TargetRuns, E::SourceClean],
        &[
            "offering [leaving@source 6] [AcceptIncoming]",
            "transferring [StartMigration]",
            "resuming [arriving@target 7] [ResumeAtTarget]",
            "completed [settled@target 8] [RemoveAtSource]",
            "completed []",
        ],
    );
}

#[test]
fn the_source_is_unclean_from_the_end_of_the_move_until_it_says_otherwise() {
    let unclean = |migration: &Migration| migration.unclean().collect::<Vec<_>>();
    let mut migration = admitted();
    for event in [E::Begin, E::TargetAccepted, E::SourceGone] {
        migration = migration.step(&event).unwrap().migration;
        assert_eq!(unclean(&migration), [], "{event:?}");
    }
    migration = migration.step(&E::TargetRuns).unwrap().migration;
    assert!(migration.state.is_finished());
    assert_eq!(unclean(&migration), [migration.from]);
    migration = migration.step(&E::SourceClean).unwrap().migration;
    assert_eq!(unclean(&migration), []);
}

#[test]
fn what_waits_may_be_withdrawn_and_what_has_begun_may_not() {
    let withdrawn = E::Withdrawn(failure(K::Refused));
    let after = admitted().step(&withdrawn).unwrap();
    assert!(after.owner.is_none() && after.effects.is_empty(), "the owner has not changed");
    let failed = S::Failed { cause: failure(K::Refused), guest_lost: false };
    assert_eq!(after.migration.state, failed);
    assert!(in_state(S::Offering).step(&withdrawn).is_err());
}
