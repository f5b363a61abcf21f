//! Many schedules, and that each is what its seed says.

use drover_crash::{Habits, Schedule, Tally, run};

use crate::known;

#[test]
fn invariant_two_thousand_schedules_keep_every_promise() {
    let mut tally = Tally::default();
    for seed in 1..=2_000 {
        let schedule = Schedule::draw(seed);
        known::check(&schedule);
        tally += run(&schedule, Habits::default(), false).tally;
    }
    // So that a generator that draws nothing is seen.
    assert!(tally.migrations > 2_500 && tally.completed > 2_000, "{tally}");
    assert!(tally.faults > 2_500 && tally.lost_by_fault > 50, "{tally}");
}

/// `make sim` runs as many as it is told; these are what docs/decisions/0010 speaks of.
#[test]
#[ignore = "takes a minute"]
fn invariant_a_million_schedules_keep_every_promise() {
    let failing =
        |seed: &u64| !run(&Schedule::draw(*seed), Habits::default(), false).violations.is_empty();
    assert_eq!((1..=1_000_000).find(failing), None);
}

#[test]
fn a_seed_is_one_run_and_not_another() {
    let trace = |seed| run(&Schedule::draw(seed), Habits::default(), true).trace;
    assert_eq!(trace(42), trace(42));
    assert_ne!(trace(42), trace(43));
}
