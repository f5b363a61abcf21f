//! What many schedules add up to.

use std::fmt;
use std::ops::AddAssign;

/// Counts of one schedule, or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Schedules.
    pub schedules: u64,
    /// Migrations that began.
    pub migrations: u64,
    /// Migrations that ended with the guest on the target.
    pub completed: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Messages between controller and agents.
    pub messages: u64,
    /// Schedules in which two copies ran at once.
    pub double_runs: u64,
    /// Guests whose only copy was killed by a fault.
    pub lost_by_fault: u64,
    /// Guests that run nowhere though no fault killed them.
    pub lost_without_cause: u64,
    /// Operations that were not over long after the last fault.
    pub stuck: u64,
    /// Schedules in which any check failed.
    pub failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.migrations += other.migrations;
        self.completed += other.completed;
        self.faults += other.faults;
        self.messages += other.messages;
        self.double_runs += other.double_runs;
        self.lost_by_fault += other.lost_by_fault;
        self.lost_without_cause += other.lost_without_cause;
        self.stuck += other.stuck;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "schedules {}, migrations {}, faults injected {}, double runs {}, lost guests {} \
             (killed by a fault {}, without cause {}), stuck operations {}",
            self.schedules,
            self.migrations,
            self.faults,
            self.double_runs,
            self.lost_by_fault + self.lost_without_cause,
            self.lost_by_fault,
            self.lost_without_cause,
            self.stuck
        )
    }
}
