//! Faults of design that are planted on purpose: a check that finds none of them is none.

use drover_crash::{FaultKind, Habits, Launch, Moment, Schedule, Violation, run, shrink};

use crate::{MOVE, at, schedule};

/// Seeds that are tried until one of them shows the fault.
const SEEDS: u64 = 20_000;

/// The first seed that breaks the promise by nothing but the habit.
fn first_seed(habits: Habits, violation: Violation) -> Option<u64> {
    let breaks = |seed, habits| run(&Schedule::draw(seed), habits, false).breaks(violation);
    (1..=SEEDS).find(|seed| breaks(*seed, habits) && !breaks(*seed, Habits::default()))
}

#[test]
fn without_paused_a_lost_finish_reply_runs_the_guest_twice() {
    let lost = schedule(&[MOVE], &[at(Moment::Prepare, 0, FaultKind::LoseFinishReply(40_000))]);
    let good = run(&lost, Habits::default(), false);
    assert_eq!(good.violations, [], "{:?}", good.violations);
    assert_eq!((good.runs_on.as_str(), &*good.ended), ("A", &["failed"][..]));
    let bad = run(&lost, Habits { arrives_paused: false, ..Habits::default() }, true);
    assert!(bad.breaks(Violation::DoubleRun), "{}", bad.trace.join("\n"));
}

#[test]
fn every_planted_fault_is_found() {
    use Violation as V;
    let plain = Habits::default();
    for (name, habits, violation) in [
        ("not paused", Habits { arrives_paused: false, ..plain }, V::DoubleRun),
        ("resumed at failure", Habits { resumes_target_at_failure: true, ..plain }, V::DoubleRun),
        (
            "silence is absence",
            Habits { takes_silence_for_absence: true, ..plain },
            V::OwnerDisagrees,
        ),
        ("epochs ignored", Habits { ignores_epochs: true, ..plain }, V::OwnerDisagrees),
        ("nothing said again", Habits { never_says_again: true, ..plain }, V::StuckOperation),
    ] {
        let seed = first_seed(habits, violation);
        let Some(seed) = seed else { panic!("{name}: {SEEDS} seeds show no {violation:?}") };
        let short = shrink(&Schedule::draw(seed), habits, violation);
        assert!(run(&short, habits, false).breaks(violation), "{name}");
        assert!(short.faults.len() <= Schedule::draw(seed).faults.len());
    }
}

/// A move is cancelled and the next one succeeds; then the first one's discard comes again.
#[test]
fn a_late_discard_destroys_a_guest_only_where_nothing_guards_it() {
    let launches = [Launch { transfer: 400, ..MOVE }, Launch { at: 1_500, transfer: 400, ..MOVE }];
    let faults = [
        at(Moment::Offered, 0, FaultKind::Twice(4_000)),
        at(Moment::Perform, 0, FaultKind::Cancel),
    ];
    let lost = |habits| {
        let breaks = |seed: &u64| {
            let schedule = Schedule { seed: *seed, ..schedule(&launches, &faults) };
            run(&schedule, habits, false).breaks(Violation::LostWithoutCause)
        };
        (1..=200).filter(breaks).count()
    };
    let plain = Habits::default();
    let no_epochs = Habits { ignores_epochs: true, ..plain };
    assert_eq!(lost(plain), 0);
    assert_eq!(lost(Habits { discards_anything: true, ..plain }), 0, "the epochs alone guard it");
    let paused = lost(no_epochs);
    assert!(paused > 0, "a copy that is about to run is guarded by nothing else");
    assert!(lost(Habits { discards_anything: true, ..no_epochs }) > paused);
}
