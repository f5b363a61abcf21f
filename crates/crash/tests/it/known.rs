//! What is known to be wrong, each with the shortest schedule that shows it. A test here is
//! ignored until its cause is gone; then the violation leaves [`AWAITING`].

use drover_crash::{FaultKind as K, Habits, Moment as M, Network, Schedule, Side, Violation, run};

use crate::{MOVE, at, schedule};

/// Promises that the schedules below still break.
const AWAITING: [Violation; 4] = [
    Violation::LostWithoutCause,
    Violation::ProcessLeft,
    Violation::DefinitionAstray,
    Violation::FalseReport,
];

/// Every promise that is kept by now.
pub(crate) fn check(schedule: &Schedule) {
    let outcome = run(schedule, Habits::default(), false);
    let broken = outcome.violations.iter().any(|(violation, _)| !AWAITING.contains(violation));
    if broken {
        let trace = run(schedule, Habits::default(), true).trace.join("\n");
        panic!("{schedule:?}\n{trace}");
    }
}

fn check_all(schedule: &Schedule) {
    let outcome = run(schedule, Habits::default(), true);
    assert_eq!(outcome.violations, [], "{}", outcome.trace.join("\n"));
}

/// A disk that cannot be had for longer than the target's agent tries: the operation gives
/// up a guest that stands on the target, whole and paused.
#[test]
#[ignore = "Resuming has to wait while the target's copy is there, whatever resume says"]
fn a_guest_is_not_given_up_while_its_memory_is_there() {
    let cut = K::Cut(Side::Target, Network::Storage, 30_000);
    check_all(&schedule(&[MOVE], &[at(M::Finished, 0, cut)]));
}

/// QEMU's end in mid-transfer is told as the guest's departure; the target has nothing, and
/// the guest is then said to be the target's, where it is not even defined.
#[test]
#[ignore = "Resuming has to go back to the source when the target has no copy"]
fn a_guest_whose_process_died_in_mid_transfer_stays_the_sources() {
    check_all(&schedule(&[MOVE], &[at(M::Perform, 1_000, K::KillQemu(Side::Source))]));
}

/// Started again in Confirm, libvirtd kills its copy and forgets that it was to be undefined:
/// an agent that is asked later takes the guest for one that stopped by itself.
#[test]
#[ignore = "libvirt's reason for a guest that is shut off has to reach the agent"]
fn a_source_libvirtd_that_dies_in_confirm_does_not_cost_the_guest() {
    check_all(&schedule(&[MOVE], &[at(M::Confirm, 0, K::KillLibvirtd(Side::Source, 900))]));
}

/// The finish was lost and the target's host with it: what is left there is a definition.
#[test]
#[ignore = "a discard has to remove the definition of a copy that has stopped"]
fn a_definition_that_arrived_is_removed_when_its_copy_died() {
    let faults = [
        at(M::Prepare, 0, K::LoseFinishReply(40_000)),
        at(M::Finished, 1_000, K::KillHost(Side::Target, 5_000)),
    ];
    check_all(&schedule(&[MOVE], &faults));
}
