//! Counts the energy of each host on, sample by sample: what Prometheus wants as a counter.
//! It begins at nothing with the process, as counters do; what was drawn in a gap is not in it.

use std::time::Duration;

use drover_model::Timestamp;
use drover_rules::energy::between;

/// Samples further apart leave a gap: agents that restart need less.
const LONGEST_GAP: Duration = Duration::from_secs(60);

/// One host's meter.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Meter {
    last: Option<(Timestamp, f64)>,
    watt_hours: f64,
}

impl Meter {
    /// Takes in a sample; one that comes late does not count.
    pub(super) fn take(&mut self, at: Timestamp, watts: f64) {
        if self.last.is_some_and(|(last, _)| at <= last) {
            return;
        }
        let more = self.last.and_then(|last| between(last, (at, watts), LONGEST_GAP));
        self.watt_hours += more.unwrap_or(0.0).max(0.0);
        self.last = Some((at, watts));
    }

    /// Kilowatt hours so far.
    pub(super) fn kwh(&self) -> f64 {
        self.watt_hours / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_add_up_gaps_do_not_and_nothing_goes_back() {
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let mut meter = Meter::default();
        for (second, watts) in [(0, 3600.0), (10, 3600.0), (5, 1e9), (10, 1e9), (20, 7200.0)] {
            meter.take(at(second), watts);
        }
        assert!((meter.kwh() - 0.025).abs() < 1e-12, "{meter:?}");
        meter.take(at(200), 3600.0);
        assert!((meter.kwh() - 0.025).abs() < 1e-12, "three minutes are a gap");
        meter.take(at(201), f64::NAN);
        meter.take(at(202), 3600.0);
        meter.take(at(203), 3600.0);
        assert!((meter.kwh() - 0.026).abs() < 1e-12, "{meter:?}");
    }
}
