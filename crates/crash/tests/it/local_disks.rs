//! A disk of its own host, copied with its guest: each fault at each step.

use drover_crash::{
    Fault, FaultKind as K, Habits, Launch, Moment as M, Schedule, Side::Source, Side::Target,
    Violation as V, run,
};
use drover_model::{MigrationMode, PostCopy};

use crate::rows::{LASTING, faults};
use crate::{MOVE, at, known, schedule};

const COLD: Launch = Launch { mode: MigrationMode::Cold, auto_start: true, ..MOVE };
const NOW: Launch = Launch { post_copy: PostCopy::Now, ..MOVE };

fn local(launch: Launch, faults: &[Fault]) -> Schedule {
    Schedule { local: true, leased: true, ..schedule(&[launch], faults) }
}

#[test]
fn every_fault_ends_with_the_disk_where_its_owner_is() {
    let steps = [M::Offered, M::Stored, M::Perform, M::PostCopy, M::Finished, M::Confirm];
    let more = [M::SourceGone, M::Resuming, M::CleaningUp, M::Returning];
    for step in steps.into_iter().chain(more) {
        for lasting in LASTING {
            for kind in faults(lasting) {
                for after in [0, 5, 300] {
                    for launch in [MOVE, COLD, NOW] {
                        known::check(&local(launch, &[at(step, after, kind)]));
                    }
                }
            }
        }
    }
}

#[test]
fn a_disk_goes_with_its_guest() {
    for launch in [MOVE, COLD, NOW] {
        let outcome = run(&local(launch, &[]), Habits::default(), true);
        let trace = outcome.trace.join("\n");
        assert_eq!(outcome.violations, [], "{trace}");
        assert_eq!((&*outcome.runs_on, &*outcome.ended), ("B", &["completed"][..]), "{trace}");
        assert!(trace.contains("A agent: removes its image"), "{trace}");
    }
}

/// The target ran the guest ahead of its memory; then both hosts died. Its copy was discarded as
/// one that had never run, and with it everything that the guest had written there.
#[test]
fn what_was_written_under_post_copy_is_not_discarded() {
    let faults = [
        at(M::PostCopy, 37, K::KillHost(Source, 2_135)),
        at(M::PostCopy, 23_900, K::KillHost(Target, 37_403)),
    ];
    known::check(&local(NOW, &faults));
}

/// A late discard, of an operation that has long ended well, in a world without epochs.
#[test]
fn a_disk_that_is_removed_under_its_guest_is_found() {
    let habits = Habits { ignores_epochs: true, discards_anything: true, ..Habits::default() };
    let broken = (1..=20_000).find(|seed| {
        let outcome = run(&Schedule::draw(*seed), habits, false);
        [V::DiskInUse, V::DiskLost, V::DiskAstray].iter().any(|lost| outcome.breaks(*lost))
    });
    assert!(broken.is_some(), "20,000 seeds show no disk that is lost");
}
