//! How long a host takes to wake, by what it took lately.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Durations of a host's last wakes, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WakeTimes(Vec<u64>);

impl WakeTimes {
    /// So many are kept: a firmware update or a new disk shows within a week of daily wakes,
    /// and one slow start does not decide alone.
    pub const KEPT: usize = 5;

    /// Takes in one more, milliseconds from the request to the proof.
    pub fn learn(&mut self, took_ms: u64) {
        self.0.push(took_ms);
        let beyond = self.0.len().saturating_sub(Self::KEPT);
        self.0.drain(..beyond);
    }

    /// The mean of what is kept; none before the first wake.
    pub fn mean(&self) -> Option<Duration> {
        let count = u64::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        Some(Duration::from_millis(self.0.iter().sum::<u64>() / count))
    }

    /// The longest of what is kept: what a forecast should count on.
    pub fn longest(&self) -> Option<Duration> {
        self.0.iter().max().map(|millis| Duration::from_millis(*millis))
    }

    /// How many are kept.
    pub const fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_five_count() {
        let mut times = WakeTimes::default();
        assert_eq!((times.mean(), times.longest()), (None, None));
        for took in [900_000, 100_000, 100_000, 100_000, 100_000, 150_000] {
            times.learn(took);
        }
        assert_eq!(times.count(), 5);
        assert_eq!(times.mean(), Some(Duration::from_secs(110)));
        assert_eq!(times.longest(), Some(Duration::from_secs(150)));
    }
}
