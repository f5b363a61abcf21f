//! How long to wait before dialling again. Pure.

use std::time::Duration;

/// Shortest wait.
const MIN: Duration = Duration::from_millis(200);

/// Longest wait: a controller that comes back is found within this.
const MAX: Duration = Duration::from_secs(3);

/// A session that lasted this long makes the next attempt the first one again.
pub(super) const SETTLED: Duration = Duration::from_secs(10);

/// Anything up to a limit that doubles with each attempt: hosts that lost their controller at
/// the same moment must not come back at the same moment. `fraction` is 0 to 1, at random.
pub(super) fn pause(attempt: u32, fraction: f64) -> Duration {
    let limit = MIN.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(MAX);
    MIN + (limit - MIN).mul_f64(fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_their_limits() {
        for (attempt, fraction, millis) in [
            (0, 1.0, 200),
            (1, 0.0, 200),
            (1, 1.0, 400),
            (2, 0.5, 500),
            (5, 1.0, 3000),
            (u32::MAX, 1.0, 3000),
            (u32::MAX, 0.0, 200),
        ] {
            assert_eq!(pause(attempt, fraction), Duration::from_millis(millis), "{attempt}");
        }
    }
}
