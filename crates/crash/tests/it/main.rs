//! The crash simulator as its callers use it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod known;
mod local_disks;
mod planted;
mod post_copy;
mod rows;
mod schedules;

use drover_crash::{Fault, FaultKind, Launch, Moment, Schedule, When};
use drover_model::{MigrationMode, PostCopy};

/// A live migration from A to B that takes three seconds to send.
const MOVE: Launch = Launch {
    at: 1_000,
    turn: 1,
    transfer: 3_000,
    mode: MigrationMode::Live,
    auto_start: false,
    post_copy: PostCopy::Never,
};

const fn at(moment: Moment, after: u64, kind: FaultKind) -> Fault {
    Fault { when: When::Step { moment, nth: 0, after }, kind }
}

fn schedule(launches: &[Launch], faults: &[Fault]) -> Schedule {
    Schedule {
        seed: 1,
        leased: false,
        local: false,
        launches: launches.to_vec(),
        faults: faults.to_vec(),
    }
}
