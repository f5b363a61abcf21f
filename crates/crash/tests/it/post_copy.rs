//! Post-copy: each fault at each step of a migration that switches.

use drover_crash::{
    Fault, FaultKind as K, Habits, Launch, Moment as M, Network as N, Schedule, Side::Source,
    Side::Target, Violation as V, run,
};
use drover_model::PostCopy;

use crate::rows::{LASTING, faults};
use crate::{MOVE, at, known, schedule};

/// A move that switches as soon as it sends.
const NOW: Launch = Launch { post_copy: PostCopy::Now, ..MOVE };

/// One that switches when it is found not to converge.
const ALLOW: Launch = Launch { post_copy: PostCopy::Allow, ..MOVE };

const STEPS: [M; 9] = [
    M::Begin,
    M::Perform,
    M::PostCopy,
    M::Finish,
    M::RunsAhead,
    M::Finished,
    M::Confirm,
    M::SourceGone,
    M::Stored,
];

fn switches(launch: Launch, faults: &[Fault]) -> Schedule {
    Schedule { leased: true, ..schedule(&[launch], faults) }
}

#[test]
fn every_fault_at_every_step_of_post_copy_ends_well() {
    for step in STEPS {
        for lasting in LASTING {
            for kind in faults(lasting) {
                for after in [0, 5, 300, 1_500] {
                    for launch in [NOW, ALLOW] {
                        known::check(&switches(launch, &[at(step, after, kind)]));
                    }
                }
            }
        }
    }
}

#[test]
fn a_switch_without_faults_completes() {
    let asked = at(M::Perform, 300, K::SwitchNow);
    for (launch, faults) in [(NOW, &[][..]), (ALLOW, &[]), (MOVE, &[asked])] {
        let outcome = run(&switches(launch, faults), Habits::default(), true);
        let trace = outcome.trace.join("\n");
        assert_eq!(outcome.violations, [], "{trace}");
        assert_eq!((&*outcome.runs_on, &*outcome.ended), ("B", &["completed"][..]), "{trace}");
        assert!(trace.contains("switches to post-copy"), "{trace}");
    }
}

/// After the target runs and before it has everything.
#[test]
fn rows_of_post_copy() {
    let minute = 60_000;
    for (name, kind, runs_on, ended) in [
        ("controller", K::KillController(9_000), "B", "completed"),
        ("source's agent", K::KillAgent(Source, 900), "B", "completed"),
        ("target's agent", K::KillAgent(Target, 900), "B", "completed"),
        ("source's libvirtd", K::KillLibvirtd(Source, 900), "B", "completed"),
        ("target's libvirtd", K::KillLibvirtd(Target, 900), "B", "completed"),
        ("the line", K::Cut(Source, N::Migration, minute), "B", "completed"),
        ("the answer of Finish", K::LoseFinishReply(minute), "B", "completed"),
        ("a wish to cancel", K::Cancel, "B", "completed"),
        ("source's QEMU", K::KillQemu(Source), "B", "failed"),
        ("target's QEMU", K::KillQemu(Target), "", "failed"),
        ("source's host", K::KillHost(Source, 9_000), "B", "failed"),
        ("target's host", K::KillHost(Target, 9_000), "", "failed"),
    ] {
        let schedule = switches(NOW, &[at(M::RunsAhead, 500, kind)]);
        let outcome = run(&schedule, Habits::default(), true);
        let trace = outcome.trace.join("\n");
        assert_eq!(outcome.violations, [], "{name}:\n{trace}");
        // Half of a guest runs until it misses the rest: it is lost, and told to be.
        assert_eq!(
            (&*outcome.runs_on, &*outcome.ended),
            (runs_on, &[ended][..]),
            "{name}:\n{trace}"
        );
        assert_eq!(outcome.tally.lost_by_fault == 1, ended == "failed", "{name}:\n{trace}");
    }
}

/// The lock is what is left between the begin of the job and its switch: without it, or with
/// every job begun so that it could be switched, the lost answer runs the guest twice.
#[test]
fn only_a_lease_makes_a_job_that_permits_post_copy_safe() {
    let lost = at(M::Prepare, 0, K::LoseFinishReply(40_000));
    let plain = Habits::default();
    let permits = Habits { always_permits_post_copy: true, ..plain };
    let bare = run(&schedule(&[MOVE], &[lost]), permits, true);
    assert!(bare.breaks(V::DoubleRun), "{}", bare.trace.join("\n"));
    let held = run(&switches(MOVE, &[lost]), permits, true);
    assert!(!held.breaks(V::DoubleRun), "{}", held.trace.join("\n"));
}

/// libvirt's error alone does not tell whether the guest had switched.
#[test]
fn a_break_that_is_taken_for_a_failure_is_found() {
    let cut = at(M::RunsAhead, 500, K::Cut(Source, N::Migration, 40_000));
    let habits = Habits { takes_a_break_for_a_failure: true, ..Habits::default() };
    let bad = run(&switches(NOW, &[cut]), habits, true);
    assert!(bad.breaks(V::OwnerDisagrees), "{}", bad.trace.join("\n"));
}
