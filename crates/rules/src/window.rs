//! From samples to one number, or the reason why there is none.

use std::time::Duration;

use drover_model::{MissingReason, Reading, Timestamp};

use crate::Aggregate;

/// Which samples count, and how many must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSpec {
    /// Length of the window.
    pub period: Duration,
    /// How samples become one number.
    pub aggregate: Aggregate,
    /// Time between two samples of a healthy agent.
    pub sample_interval: Duration,
    /// Samples before this moment do not count: a move has changed the host since.
    pub not_before: Option<Timestamp>,
}

impl WindowSpec {
    /// Age at which the newest sample is too old: three were missed, and a second of grace
    /// for the way.
    pub fn stale_after(&self) -> Duration {
        self.sample_interval * 3 + Duration::from_secs(1)
    }

    /// How far back samples may count: the newest does until it is too old, however short the
    /// window is.
    pub fn reach(&self) -> Duration {
        self.period.max(self.stale_after())
    }

    /// Longest gap between two samples inside the window: an agent that restarts needs
    /// less, one that hangs needs more.
    pub fn max_gap(&self) -> Duration {
        (self.sample_interval * 6).max(Duration::from_secs(10))
    }

    /// Time that samples must cover: the period, less one sample at each end.
    pub fn needed(&self) -> Duration {
        self.period.saturating_sub(self.sample_interval * 2)
    }
}

/// Aggregates `samples` (oldest first, at most one per moment) over the window that ends
/// at `now`. Where the window is so short that none is in it, the newest counts until it is
/// too old: a late sample is no missing one, whatever the length of the window.
pub fn aggregate(samples: &[(Timestamp, f64)], now: Timestamp, spec: &WindowSpec) -> Reading {
    let earliest = spec.not_before.unwrap_or(Timestamp::EPOCH);
    let counts =
        |(at, value): &(Timestamp, f64)| *at >= earliest && *at <= now && value.is_finite();
    let known: Vec<(Timestamp, f64)> = samples.iter().copied().filter(counts).collect();
    let Some(newest) = known.last().map(|(at, _)| *at) else {
        return Reading::Missing(MissingReason::NoSamples);
    };
    let limit = spec.stale_after();
    if now.since(newest) > limit {
        return Reading::Missing(MissingReason::Stale {
            age_ms: millis(now.since(newest)),
            limit_ms: millis(limit),
        });
    }
    let from = now.minus(spec.period).min(newest);
    let inside = &known[known.partition_point(|(at, _)| *at < from)..];
    let covered = inside.first().map(|(first, _)| now.since(*first)).unwrap_or_default();
    if covered < spec.needed() {
        return Reading::Missing(MissingReason::TooShort {
            covered_ms: millis(covered),
            needed_ms: millis(spec.needed()),
        });
    }
    let gap = inside.windows(2).map(|pair| pair[1].0.since(pair[0].0)).max().unwrap_or_default();
    if gap > spec.max_gap() {
        return Reading::Missing(MissingReason::Gap {
            gap_ms: millis(gap),
            limit_ms: millis(spec.max_gap()),
        });
    }
    let values: Vec<f64> = inside.iter().map(|(_, value)| *value).collect();
    Reading::Known {
        value: reduce(spec.aggregate, &values),
        samples: u32::try_from(values.len()).unwrap_or(u32::MAX),
        newest,
    }
}

fn reduce(aggregate: Aggregate, values: &[f64]) -> f64 {
    match aggregate {
        #[expect(clippy::cast_precision_loss, reason = "a day has 17,280 samples")]
        Aggregate::Mean => values.iter().sum::<f64>() / values.len() as f64,
        Aggregate::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Aggregate::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Aggregate::P95 => {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            let rank = (values.len() * 95).div_ceil(100).max(1);
            sorted[rank - 1]
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(aggregate: Aggregate) -> WindowSpec {
        WindowSpec {
            period: Duration::from_secs(60),
            aggregate,
            sample_interval: Duration::from_secs(5),
            not_before: None,
        }
    }

    fn every_5_s(from: i64, to: i64) -> Vec<(Timestamp, f64)> {
        (from..=to).step_by(5).map(|s| (Timestamp::from_millis(s * 1000), s as f64)).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    #[test]
    fn each_aggregate_reduces_the_window_only() {
        let samples = every_5_s(0, 100);
        for (aggregate_by, value) in [
            (Aggregate::Mean, 70.0),
            (Aggregate::Max, 100.0),
            (Aggregate::Min, 40.0),
            (Aggregate::P95, 100.0),
        ] {
            let reading = aggregate(&samples, at(100), &spec(aggregate_by));
            assert_eq!(reading.value(), Some(value), "{aggregate_by:?}");
        }
    }

    #[test]
    fn missing_stale_short_and_gapped_windows_have_no_value() {
        let missing = |samples: &[(Timestamp, f64)], now| match aggregate(
            samples,
            now,
            &spec(Aggregate::Mean),
        ) {
            Reading::Missing(reason) => reason,
            Reading::Known { value, .. } => panic!("known {value}"),
        };
        assert_eq!(missing(&[], at(100)), MissingReason::NoSamples);
        assert!(matches!(missing(&every_5_s(0, 80), at(100)), MissingReason::Stale { .. }));
        assert!(matches!(missing(&every_5_s(60, 100), at(100)), MissingReason::TooShort { .. }));
        let mut gapped = every_5_s(0, 50);
        gapped.extend(every_5_s(90, 100));
        assert!(matches!(missing(&gapped, at(100)), MissingReason::Gap { .. }));
    }

    #[test]
    fn a_late_sample_of_a_short_window_counts_until_it_is_stale() {
        let short = WindowSpec { period: Duration::from_secs(10), ..spec(Aggregate::Mean) };
        let samples = every_5_s(0, 100);
        for (now, expected) in
            [(105, Some(97.5)), (111, Some(100.0)), (116, Some(100.0)), (117, None)]
        {
            let reading = aggregate(&samples, at(now), &short);
            assert_eq!(reading.value(), expected, "at {now} s: {reading:?}");
        }
        let stale = aggregate(&samples, at(200), &short);
        assert!(matches!(stale, Reading::Missing(MissingReason::Stale { .. })), "{stale:?}");
    }

    #[test]
    fn samples_before_a_move_do_not_count() {
        let after_move = WindowSpec { not_before: Some(at(70)), ..spec(Aggregate::Mean) };
        let reading = aggregate(&every_5_s(0, 100), at(100), &after_move);
        assert!(matches!(reading, Reading::Missing(MissingReason::TooShort { .. })));
    }
}
