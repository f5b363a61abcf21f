//! What was wrong once, each with the shortest schedule that showed it.

use drover_crash::{
    Fault, FaultKind as K, Habits, Launch, Moment as M, Network, Schedule, Side, When, run,
};
use drover_model::MigrationMode;

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

const fn to(turn: usize, at: u64, transfer: u64) -> Launch {
    Launch { at, turn, transfer, ..MOVE }
}

/// One of a million, as it was drawn.
fn drawn(seed: u64, launches: &[Launch], faults: &[Fault]) {
    check(&Schedule { seed, ..schedule(launches, faults) });
}

const fn later(nth: u32, fault: Fault) -> Fault {
    match fault.when {
        When::Step { moment, after, .. } => {
            Fault { when: When::Step { moment, nth, after }, ..fault }
        }
        When::At(_) => fault,
    }
}

const fn when(at: u64, kind: K) -> Fault {
    Fault { when: When::At(at), kind }
}

/// The end of a migration was told; a repeat of the command to begin it reached the agent
/// after a restart, and ahead of the new epoch: it was begun anew, and nobody waited for it.
#[test]
fn a_repeat_after_a_restart_begins_nothing_that_is_over() {
    let faults = [
        later(2, at(M::Perform, 2, K::KillAgent(Side::Target, 15_000))),
        later(1, at(M::PerformDone, 0, K::KillAgent(Side::Source, 911))),
        later(2, at(M::Prepare, 2_766, K::KillLibvirtd(Side::Source, 1_489))),
        at(M::CleaningUp, 0, K::KillAgent(Side::Source, 1_285)),
        later(1, at(M::Begin, 117, K::Twice(35_612))),
    ];
    let launches = [to(2, 3_810, 4_002), to(1, 46_845, 5_980), to(2, 59_723, 3_006)];
    drawn(340_971, &launches, &faults);
}

/// QEMU died when all had been sent, and nobody saw it: the guest was said to have stopped,
/// and its copy was discarded; then libvirt's job ended well, and removed the definition.
#[test]
fn a_guest_that_died_once_it_was_sent_is_the_targets() {
    let faults = [
        at(M::Finished, 0, K::KillQemu(Side::Source)),
        at(M::Perform, 167, K::KillAgent(Side::Source, 425)),
    ];
    drawn(434_881, &[to(2, 1_823, 936)], &faults);
    let faults = [
        when(63_255, K::KillQemu(Side::Source)),
        later(1, at(M::Offered, 903, K::KillAgent(Side::Source, 15_000))),
        when(26_161, K::LoseFinishReply(23_055)),
    ];
    drawn(663_294, &[to(2, 1_237, 3_605), to(1, 50_146, 7_592)], &faults);
}

/// A host that was to start a guest said that it could not, and a repeat of the command
/// started it: by then the guest was said to be the dead host's again.
#[test]
fn a_rescue_that_failed_is_the_targets_until_that_denies_it() {
    let faults = [
        when(24_450, K::KillHost(Side::Target, 11_471)),
        later(1, at(M::Resuming, 1, K::Late(23_236))),
    ];
    let rescue = Launch { mode: MigrationMode::Rescue, auto_start: true, ..to(1, 1_497, 7_767) };
    let launches = [rescue, to(1, 20_855, 2_888), to(1, 57_611, 1_608)];
    drawn(754_463, &launches, &faults);
}

/// libvirtd ended its copy when it was started again, and then forgot why: it was killed
/// once more, or its host was, before anybody had asked. That loss is the faults' own.
#[test]
fn what_libvirt_forgot_twice_is_lost_by_the_faults() {
    let faults = [
        later(1, at(M::Finished, 3_433, K::KillLibvirtd(Side::Source, 10_060))),
        later(1, at(M::Confirm, 0, K::KillLibvirtd(Side::Source, 559))),
    ];
    drawn(618_099, &[to(1, 41_627, 3_394), to(2, 47_267, 409)], &faults);
    let faults = [
        at(M::Finished, 6, K::KillLibvirtd(Side::Source, 1_138)),
        at(M::Finished, 1_146, K::KillHost(Side::Source, 39_216)),
    ];
    drawn(902_812, &[to(1, 14_752, 6_024)], &faults);
}
