//! Crashes, proven: the real migration machine and the real decisions of agents, over a
//! modelled libvirt, a modelled network and modelled hosts that fail at random.
//!
//! A seed stands for a [`Schedule`]: migrations and faults. [`run`] plays it in virtual time
//! and checks at every event that the guest never runs twice (`no_double_run`) and runs only
//! where the owner record says (`owner_agrees`), and after the last fault that everything
//! comes to rest with one running copy and nothing left behind (`converges_when_quiet`).
//! The same schedule gives the same run. What is modelled, and what is not, is said in
//! docs/decisions/0010.

mod agenda;
mod agent;
mod check;
mod controller;
mod event;
mod habit;
mod host;
mod images;
mod inject;
mod libvirt;
mod link;
mod schedule;
mod shrink;
mod tally;
mod world;

pub use check::Violation;
pub use habit::Habits;
pub use schedule::{Fault, FaultKind, Launch, Moment, Network, QUIET_AT, Schedule, Side, When};
pub use shrink::shrink;
pub use tally::Tally;

use agenda::At;
use world::World;

/// The shortest time that is waited after the last fault: past every keepalive, and past
/// every message that is still late.
const SETTLE: At = 40_000;

/// By then everything must be at rest: a connection attempt alone may sleep for 64 s, and a
/// transfer, a keepalive and some repeats may follow.
const PATIENCE: At = 240_000;

/// How often it is looked whether all is at rest.
const LOOK: At = 5_000;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Counts.
    pub tally: Tally,
    /// Promises that were broken, each with its first account.
    pub violations: Vec<(Violation, String)>,
    /// The hosts on which a copy runs in the end, by their names.
    pub runs_on: String,
    /// How each operation ended, by its state's word.
    pub ended: Vec<&'static str>,
    /// What happened, line by line; empty when it was not asked for.
    pub trace: Vec<String>,
}

impl Outcome {
    /// Whether this promise was broken.
    pub fn breaks(&self, violation: Violation) -> bool {
        self.violations.iter().any(|(broken, _)| *broken == violation)
    }
}

/// Plays a schedule.
pub fn run(schedule: &Schedule, habits: Habits, traced: bool) -> Outcome {
    let mut world = World::new(schedule.clone(), habits, traced);
    let mut end = QUIET_AT + SETTLE;
    world.run_until(end);
    while !world.is_at_rest() && end < QUIET_AT + PATIENCE {
        end += LOOK;
        world.run_until(end);
    }
    // Rest must last.
    world.run_until(end + LOOK);
    world.check_quiet();
    world.tally.schedules = 1;
    world.tally.failed = u64::from(!world.violations.is_empty());
    world.tally.double_runs = u64::from(world.violations.contains_key(&Violation::DoubleRun));
    let trace = world.take_trace();
    let (runs_on, ended) = (world.runs_on(), world.ended());
    let violations = world.violations.into_iter().collect();
    Outcome { tally: world.tally, violations, runs_on, ended, trace }
}
