//! What guests want over time.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{Bytes, Name};

/// Named limits of a trace.
pub mod limits {
    use std::time::Duration;

    /// Most steps of all guests together: a week of 5-minute steps of 10,000 guests.
    /// At 32 bytes each, 640 MB.
    pub const MAX_STEPS: usize = 20_000_000;
    /// Longest trace: a year and a day.
    pub const MAX_SPAN: Duration = Duration::from_secs(366 * 86_400);
    /// Most that one guest may want, cores.
    pub const MAX_CORES: f64 = 4_096.0;
}

/// From `at` on a guest wants this, until its next step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Since the start of the trace.
    pub at: Duration,
    /// CPU it would use if it had a host to itself, cores.
    pub cores: f64,
    /// Memory it holds; none when the trace does not say: then all that it may.
    pub memory: Option<Bytes>,
}

/// Steps by guest, each guest's in the order of time. Steps may be irregular; before its
/// first a guest wants nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    steps: BTreeMap<Name, Vec<Step>>,
}

/// What is wrong with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Not after the guest's step before.
    #[error(
        "the guest's time does not grow: each of its samples must be later than the one before"
    )]
    NotLater,
    /// After the longest trace.
    #[error("the time is beyond a year and a day")]
    TooLate,
    /// Not a number of cores.
    #[error("the CPU use is not between 0 and 4096 cores")]
    Cores,
    /// One step too many.
    #[error("there are more than 20,000,000 samples")]
    TooMany,
}

impl Trace {
    /// An empty trace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a guest's next step.
    pub fn push(&mut self, guest: &str, step: Step) -> Result<(), StepError> {
        if !(0.0..=limits::MAX_CORES).contains(&step.cores) {
            return Err(StepError::Cores);
        }
        if step.at > limits::MAX_SPAN {
            return Err(StepError::TooLate);
        }
        let of_guest = match self.steps.get_mut(guest) {
            Some(steps) => steps,
            None => self.steps.entry(guest.to_owned()).or_default(),
        };
        if of_guest.last().is_some_and(|last| last.at >= step.at) {
            return Err(StepError::NotLater);
        }
        of_guest.push(step);
        Ok(())
    }

    /// The guests that it tells of.
    pub fn guests(&self) -> impl Iterator<Item = &Name> {
        self.steps.keys()
    }

    /// A guest's steps; none for a guest that it does not tell of.
    pub fn steps(&self, guest: &str) -> &[Step] {
        self.steps.get(guest).map_or(&[], Vec::as_slice)
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.values().map(Vec::len).sum()
    }

    /// Whether it tells nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Until its last step, plus one step of that guest's: the last value holds as long as
    /// the one before it did.
    pub fn span(&self) -> Duration {
        self.steps
            .values()
            .filter_map(|steps| {
                let last = steps.last()?.at;
                let before = steps.iter().rev().nth(1).map_or(Duration::ZERO, |step| step.at);
                Some(last + (last - before))
            })
            .max()
            .unwrap_or_default()
    }
}

/// Reads a guest's steps forwards in time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor(usize);

impl Cursor {
    /// What holds at `at`, which never goes back.
    pub(crate) fn at(&mut self, steps: &[Step], at: Duration) -> Option<Step> {
        while steps.get(self.0).is_some_and(|step| step.at <= at) {
            self.0 += 1;
        }
        self.0.checked_sub(1).map(|index| steps[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: u64, cores: f64) -> Step {
        Step { at: Duration::from_secs(at), cores, memory: None }
    }

    #[test]
    fn a_value_holds_until_the_next_and_nothing_holds_before_the_first() {
        let mut trace = Trace::new();
        for (at, cores) in [(10, 1.0), (17, 2.0), (400, 0.5)] {
            trace.push("a", step(at, cores)).unwrap();
        }
        let mut cursor = Cursor::default();
        let mut at = |second| {
            let found = cursor.at(trace.steps("a"), Duration::from_secs(second));
            found.map(|step| step.cores)
        };
        assert_eq!(
            [at(0), at(10), at(16), at(17), at(399), at(9_999)],
            [None, Some(1.0), Some(1.0), Some(2.0), Some(2.0), Some(0.5)]
        );
        assert_eq!(trace.span(), Duration::from_secs(783));
    }

    #[test]
    fn steps_that_cannot_be_are_refused() {
        let mut trace = Trace::new();
        trace.push("a", step(5, 1.0)).unwrap();
        assert_eq!(trace.push("a", step(5, 1.0)), Err(StepError::NotLater));
        assert_eq!(trace.push("a", step(6, -1.0)), Err(StepError::Cores));
        assert_eq!(trace.push("a", step(6, f64::NAN)), Err(StepError::Cores));
        assert_eq!(trace.push("a", step(40_000_000, 1.0)), Err(StepError::TooLate));
    }
}
