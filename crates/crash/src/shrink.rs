//! The shortest schedule that still breaks a promise.

use crate::{Habits, Schedule, Violation, run};

/// Drops faults and migrations one by one for as long as the promise stays broken.
pub fn shrink(schedule: &Schedule, habits: Habits, violation: Violation) -> Schedule {
    let breaks = |schedule: &Schedule| run(schedule, habits, false).breaks(violation);
    let mut shortest = schedule.clone();
    loop {
        let shorter = shorter(&shortest).into_iter().find(breaks);
        match shorter {
            Some(found) => shortest = found,
            None => return shortest,
        }
    }
}

/// Every schedule that lacks one thing of this one.
fn shorter(schedule: &Schedule) -> Vec<Schedule> {
    let without_fault = (0..schedule.faults.len()).map(|index| {
        let mut shorter = schedule.clone();
        shorter.faults.remove(index);
        shorter
    });
    let without_launch = (0..schedule.launches.len()).map(|index| {
        let mut shorter = schedule.clone();
        shorter.launches.remove(index);
        shorter
    });
    without_fault.chain(without_launch).collect()
}
