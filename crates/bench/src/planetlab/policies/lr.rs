//! LR: overloaded when the trend says the load will reach capacity.

use crate::planetlab::catalog::migration_seconds;
use crate::planetlab::policies::baseline::Overload;
use crate::planetlab::policies::plan::Load;
use crate::planetlab::policies::threshold::FALLBACK;
use crate::planetlab::stats;

/// Local regression on the last ten samples. Source: CloudSim 3.0.3
/// `PowerVmAllocationPolicyMigrationLocalRegression`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalRegression {
    /// Factor on the predicted utilisation.
    pub(crate) safety: f64,
    /// Seconds between steps; the prediction looks as many whole steps ahead as the slowest
    /// guest would take to leave.
    pub(crate) interval_s: f64,
}

/// Samples in the fit.
const WINDOW: usize = 10;

impl Overload for LocalRegression {
    fn overloaded(&self, load: &Load) -> bool {
        let known = load.known_history();
        if known.len() < WINDOW {
            return FALLBACK.overloaded(load);
        }
        let mut oldest_first = [0.0; WINDOW];
        for (slot, &value) in oldest_first.iter_mut().rev().zip(known) {
            *slot = value;
        }
        let (intercept, slope) = stats::line(&oldest_first);
        let seconds = migration_seconds(load.largest_mb, load.bandwidth);
        let ahead = WINDOW as f64 + (seconds / self.interval_s).ceil();
        (intercept + slope * ahead) * self.safety >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planetlab::vm::HISTORY;

    fn load(newest_first: &[f64]) -> Load {
        let mut history = [0.0; HISTORY];
        history[..newest_first.len()].copy_from_slice(newest_first);
        Load { capacity: 1000.0, requested: 0.0, history, largest_mb: 870.0, bandwidth: 1e6 }
    }

    #[test]
    fn a_rising_line_is_extrapolated_one_step() {
        let rule = LocalRegression { safety: 1.0, interval_s: 300.0 };
        let rising =
            |top: f64| -> Vec<f64> { (0..10).map(|i| top - 0.05 * f64::from(i)).collect() };
        // the next point would be top + 0.05
        assert!(rule.overloaded(&load(&rising(0.951))));
        assert!(!rule.overloaded(&load(&rising(0.949))));
    }

    #[test]
    fn short_history_falls_back() {
        let rule = LocalRegression { safety: 1.2, interval_s: 300.0 };
        let mut short = load(&[1.0; 9]);
        assert!(!rule.overloaded(&short));
        short.requested = 701.0;
        assert!(rule.overloaded(&short));
    }
}
