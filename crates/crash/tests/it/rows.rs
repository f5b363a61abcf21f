//! The crash table, row by row: each fault at each step of a migration from A to B.

use drover_crash::{
    Fault, FaultKind as K, Habits, Moment as M, Network as N, Side::Source, Side::Target, run,
};

use crate::{MOVE, at, known, schedule};

const STEPS: [M; 12] = [
    M::Offered,
    M::Begin,
    M::Prepare,
    M::Perform,
    M::SwitchOver,
    M::PerformDone,
    M::Finish,
    M::Finished,
    M::Confirm,
    M::SourceGone,
    M::Resuming,
    M::Stored,
];

/// Shorter than any timeout, and longer than all of them.
pub(crate) const LASTING: [u64; 2] = [2_000, 40_000];

pub(crate) fn faults(lasting: u64) -> Vec<K> {
    let mut all = vec![K::KillController(lasting), K::DiskFull(lasting), K::Cancel];
    all.extend([K::Late(lasting), K::Twice(lasting), K::LoseFinishReply(lasting)]);
    for side in [Source, Target] {
        all.extend([K::KillAgent(side, lasting), K::KillLibvirtd(side, lasting)]);
        all.extend([K::KillQemu(side), K::KillHost(side, lasting)]);
        all.extend([N::Management, N::Migration, N::Storage].map(|net| K::Cut(side, net, lasting)));
    }
    all
}

#[test]
fn every_fault_at_every_step_ends_well() {
    for step in STEPS {
        for lasting in LASTING {
            for kind in faults(lasting) {
                for after in [0, 5, 300] {
                    let fault = at(step, after, kind);
                    known::check(&schedule(&[MOVE], &[fault]));
                }
            }
        }
    }
}

#[test]
fn rows_of_the_table() {
    let minute = 60_000;
    let rows: [(&str, Fault, &str, &str); 12] = [
        (
            "controller dies in Perform",
            at(M::Perform, 9, K::KillController(9_000)),
            "B",
            "completed",
        ),
        (
            "source agent dies in Perform",
            at(M::Perform, 9, K::KillAgent(Source, 900)),
            "B",
            "completed",
        ),
        (
            "target agent dies in Finish",
            at(M::Finish, 0, K::KillAgent(Target, 900)),
            "B",
            "completed",
        ),
        (
            "target libvirtd dies in Perform",
            at(M::Perform, 9, K::KillLibvirtd(Target, 900)),
            "A",
            "failed",
        ),
        (
            "source libvirtd dies in Perform",
            at(M::Perform, 9, K::KillLibvirtd(Source, 900)),
            "A",
            "failed",
        ),
        (
            "migration network cut",
            at(M::Perform, 9, K::Cut(Source, N::Migration, minute)),
            "A",
            "failed",
        ),
        ("answer of Finish lost", at(M::Prepare, 0, K::LoseFinishReply(minute)), "A", "failed"),
        (
            "source libvirtd dies in PerformDone",
            at(M::PerformDone, 0, K::KillLibvirtd(Source, 900)),
            "A",
            "failed",
        ),
        (
            "target libvirtd dies in Finish",
            at(M::Finish, 0, K::KillLibvirtd(Target, 900)),
            "A",
            "failed",
        ),
        ("target QEMU dies in Perform", at(M::Perform, 9, K::KillQemu(Target)), "A", "failed"),
        (
            "target host dies in Perform",
            at(M::Perform, 9, K::KillHost(Target, minute)),
            "A",
            "failed",
        ),
        ("the target's disk is full", at(M::Stored, 0, K::DiskFull(9_000)), "A", "failed"),
    ];
    for (name, fault, runs_on, ended) in rows {
        let outcome = run(&schedule(&[MOVE], &[fault]), Habits::default(), true);
        let trace = outcome.trace.join("\n");
        assert_eq!(outcome.violations, [], "{name}:\n{trace}");
        assert_eq!(
            (&*outcome.runs_on, &*outcome.ended),
            (runs_on, &[ended][..]),
            "{name}:\n{trace}"
        );
    }
}

#[test]
fn a_migration_without_faults_completes() {
    let outcome = run(&schedule(&[MOVE], &[]), Habits::default(), false);
    assert_eq!(outcome.violations, []);
    assert_eq!((&*outcome.runs_on, &*outcome.ended), ("B", &["completed"][..]));
}
