//! What was wrong once, each with the shortest schedule that showed it.

use drover_crash::{
    Fault, FaultKind as K, Habits, Launch, Moment as M, Network, Schedule, Side, When, run,
};
use drover_model::{MigrationMode, PostCopy};

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

const NOW: Launch = Launch { post_copy: PostCopy::Now, ..MOVE };

fn switched(seed: u64, launches: &[Launch], faults: &[Fault]) {
    check(&Schedule { seed, leased: true, ..schedule(launches, faults) });
}

/// An agent that was restarted began the migration a second time; its first copy stood on the
/// target, and the second one's process died: the first was resumed, and was out of date.
#[test]
fn a_second_try_is_not_taken_for_the_first() {
    let faults = [
        when(47_352, K::KillQemu(Side::Source)),
        at(M::Prepare, 74, K::LoseFinishReply(41_020)),
        when(23_916, K::KillAgent(Side::Source, 15_000)),
    ];
    for seed in 1..=20 {
        drawn(seed, &[to(2, 3_553, 6_916)], &faults);
    }
}

/// libvirt took the guest back, and its process died before the agent had looked again: the
/// exit was taken for its departure.
#[test]
fn the_end_of_a_process_alone_is_no_departure() {
    let faults = [
        at(M::Prepare, 0, K::LoseFinishReply(42_389)),
        at(M::ConfirmCancelled, 149, K::KillQemu(Side::Source)),
        when(31_865, K::KillAgent(Side::Source, 8_033)),
    ];
    for seed in 1..=20 {
        drawn(seed, &[to(1, 2_028, 4_906)], &faults);
    }
}

/// The end of a switched migration was told under the epoch it had begun with, so a repeat of the
/// wish to switch, of a higher one, began it anew.
#[test]
fn a_repeat_of_the_switch_begins_nothing_that_is_over() {
    let faults = [
        at(M::CleaningUp, 99, K::KillAgent(Side::Source, 82)),
        when(59_627, K::KillHost(Side::Target, 5_400)),
        when(32_366, K::Late(40_107)),
    ];
    let allow = Launch { post_copy: PostCopy::Allow, ..to(1, 42_740, 7_608) };
    switched(5_854_116, &[allow], &faults);
}

/// libvirt could not take it back, since the target had the lease: its process stayed for ever.
#[test]
fn what_libvirt_could_not_take_back_is_removed() {
    let faults = [
        at(M::Finish, 9, K::Cut(Side::Source, Network::Migration, 38_473)),
        later(1, at(M::Prepare, 7, K::KillAgent(Side::Source, 15_000))),
    ];
    let allow = Launch { post_copy: PostCopy::Allow, ..to(1, 16_113, 7_892) };
    switched(23_069, &[allow], &faults);
}

/// A command from before the owner changed came late and was refused as stale: that was taken
/// for the refusal to switch, and the copy that had arrived was destroyed.
#[test]
fn a_stale_command_says_nothing_of_the_switch() {
    let faults = [
        at(M::Perform, 14, K::Late(14_112)),
        when(43_616, K::KillController(8_916)),
        when(44_793, K::KillAgent(Side::Target, 15_000)),
    ];
    for seed in 1..=20 {
        let allow = Launch { post_copy: PostCopy::Allow, ..to(1, 2_965, 3_464) };
        switched(seed, &[allow], &faults);
    }
}

/// The target's libvirtd is away and then the source's QEMU dies: nobody told the target.
#[test]
fn half_a_guest_that_nobody_serves_is_told_as_lost() {
    let faults = [
        at(M::RunsAhead, 500, K::KillQemu(Side::Source)),
        at(M::RunsAhead, 520, K::KillLibvirtd(Side::Target, 15_000)),
    ];
    switched(12_367, &[NOW], &faults);
    let faults = [
        at(M::RunsAhead, 26, K::KillLibvirtd(Side::Target, 15_000)),
        at(M::RunsAhead, 11_300, K::KillQemu(Side::Source)),
    ];
    switched(184_354, &[Launch { transfer: 20_000, ..NOW }], &faults);
}
