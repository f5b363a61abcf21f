//! What was wrong once, each with the shortest schedule that showed it.

use drover_crash::{FaultKind as K, Habits, Moment as M, Network, Schedule, Side, run};

use crate::{MOVE, at, schedule};

/// Keeps every promise.
pub(crate) fn check(schedule: &Schedule) {
    let outcome = run(schedule, Habits::default(), false);
    if !outcome.violations.is_empty() {
        let trace = run(schedule, Habits::default(), true).trace.join("\n");
        panic!("{schedule:?}\n{trace}");
    }
}

/// A disk that cannot be had for longer than the target's agent tries: the operation gave
/// up a guest that stood on the target, whole and paused.
#[test]
fn a_guest_is_not_given_up_while_its_memory_is_there() {
    let cut = K::Cut(Side::Target, Network::Storage, 30_000);
    check(&schedule(&[MOVE], &[at(M::Finished, 0, cut)]));
}

/// QEMU's end in mid-transfer is told as the guest's departure; the target has nothing, and
/// the guest was then said to be the target's, where it was not even defined.
#[test]
fn a_guest_whose_process_died_in_mid_transfer_stays_the_sources() {
    check(&schedule(&[MOVE], &[at(M::Perform, 1_000, K::KillQemu(Side::Source))]));
}

/// Started again in Confirm, libvirtd kills its copy and forgets that it was to be undefined:
/// an agent that was asked later took the guest for one that had stopped by itself, and the
/// copy on the target was discarded.
#[test]
fn a_source_libvirtd_that_dies_in_confirm_does_not_cost_the_guest() {
    check(&schedule(&[MOVE], &[at(M::Confirm, 0, K::KillLibvirtd(Side::Source, 900))]));
}

/// The finish was lost and the target's host with it: what was left there is a definition.
#[test]
fn a_definition_that_arrived_is_removed_when_its_copy_died() {
    let faults = [
        at(M::Prepare, 0, K::LoseFinishReply(40_000)),
        at(M::Finished, 1_000, K::KillHost(Side::Target, 5_000)),
    ];
    check(&schedule(&[MOVE], &faults));
}

/// The source is left paused and the target's copy has died: its definition was taken for a
/// copy that has run, and the guest was handed over to it.
#[test]
fn a_dead_copy_does_not_get_the_guest() {
    let faults = [
        at(M::PerformDone, 2, K::KillLibvirtd(Side::Source, 3_000)),
        at(M::Finished, 100, K::KillQemu(Side::Target)),
    ];
    check(&schedule(&[MOVE], &faults));
}

/// Six in a million, each of which needs what nothing here can tell yet: a duplicate that
/// reaches an agent which was restarted, ahead of the new epoch (340971, 902812); messages
/// out of order in a rescue (754463); a libvirtd killed again before an agent has asked it why
/// a guest ended (618099); a QEMU killed between Finish and Confirm (434881, 663294).
#[test]
#[ignore = "rare; what is missing is said above"]
fn six_in_a_million() {
    for seed in [340_971, 434_881, 618_099, 663_294, 754_463, 902_812] {
        check(&Schedule::draw(seed));
    }
}
