//! Moments of a host's history with both CPU use and watts, and the line through them.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{HostId, Metric, MetricUnit, PowerLine, Timestamp};
use drover_ports::{Entity, History, HistoryError, Resolution, SeriesPoint};
use drover_rules::power_line::{NotLearned, learn, line};

/// Metrics that have a line.
pub const METRICS: [Metric; 2] = [Metric::PowerWatts, Metric::PowerPackageWatts];
/// History that is looked at first: a week has its nights and its busiest hour.
const LONG: Duration = Duration::from_secs(7 * 86_400);
/// History at full rate, where the week does not tell enough: as long as it is kept.
const SHORT: Duration = Duration::from_secs(86_400);
/// Buckets of a week below which the day tells more: a day of five minutes.
const FEW: usize = 288;
/// A moment at full rate, milliseconds: watts are often means over a minute.
const MINUTE_MS: i64 = 60_000;

/// What one host's history tells of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The line.
    pub line: PowerLine,
    /// Why it is not learned, where it is not.
    pub why: Option<NotLearned>,
    /// CPU use as a fraction and watts.
    pub moments: Vec<(f64, f64)>,
    /// How finely history was read.
    pub resolution: Resolution,
}

/// Learns a host's line of one metric from its history.
pub async fn look(
    history: &dyn History,
    host: HostId,
    cores: f64,
    metric: Metric,
    now: Timestamp,
) -> Result<Learned, HistoryError> {
    debug_assert!(metric.unit() == MetricUnit::Watts, "{metric} is not in watts");
    let mut resolution = Resolution::FiveMinutes;
    let mut known = moments(history, host, metric, now, LONG, resolution).await?;
    if known.len() < FEW || learn(&known).is_err() {
        let day = moments(history, host, metric, now, SHORT, Resolution::Full).await?;
        // A flat week stays what it is, unless the day is known to be less flat.
        if known.len() < FEW || learn(&day).is_ok() {
            (known, resolution) = (day, Resolution::Full);
        }
    }
    let (line, why) = line(&known, cores);
    Ok(Learned { line, why, moments: known, resolution })
}

async fn moments(
    history: &dyn History,
    host: HostId,
    metric: Metric,
    now: Timestamp,
    span: Duration,
    resolution: Resolution,
) -> Result<Vec<(f64, f64)>, HistoryError> {
    let from = now.minus(span);
    let entity = Entity::Host(host);
    let watts = history.series(entity, metric, from, now, resolution).await?;
    if watts.is_empty() {
        return Ok(Vec::new());
    }
    let used = history.series(entity, Metric::CpuUsageActive, from, now, resolution).await?;
    let bucket = i64::try_from(resolution.bucket().as_millis()).unwrap_or(0).max(MINUTE_MS);
    Ok(joined(&used, &watts, bucket))
}

/// Buckets in which both are known: means of CPU use, as a fraction, and of watts.
fn joined(percent: &[SeriesPoint], watts: &[SeriesPoint], bucket: i64) -> Vec<(f64, f64)> {
    let means = |points: &[SeriesPoint]| {
        let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for point in points {
            let sum = sums.entry(point.at.as_millis().div_euclid(bucket)).or_default();
            *sum = (sum.0 + point.mean * f64::from(point.count), sum.1 + f64::from(point.count));
        }
        sums
    };
    let watts = means(watts);
    means(percent)
        .into_iter()
        .filter_map(|(at, (sum, count))| {
            let (watts, of) = watts.get(&at)?;
            (count > 0.0 && *of > 0.0).then(|| (sum / count / 100.0, watts / of))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use drover_ports::SamplePoint;
    use drover_ports::memory::MemoryHistory;
    use drover_testkit::host_id;

    use super::*;

    const START: i64 = 1_800_000_000_000;

    /// Samples of every 5 s over so many minutes; watts only where `with` says so.
    async fn history(minutes: i64, with: impl Fn(i64) -> Option<f64>) -> MemoryHistory {
        let history = MemoryHistory::default();
        let mut points = Vec::new();
        for step in 0..minutes * 12 {
            let used = f64::from(u32::try_from(step / 12 % 10).unwrap()) * 10.0;
            let mut values = vec![(Metric::CpuUsageActive, used)];
            values.extend(with(step).map(|error| (Metric::PowerWatts, 100.0 + used + error)));
            let at = Timestamp::from_millis(START + step * 5000);
            points.push(SamplePoint { entity: Entity::Host(host_id(1)), at, values });
        }
        history.append(points).await.unwrap();
        history
    }

    fn after(minutes: i64) -> Timestamp {
        Timestamp::from_millis(START + minutes * MINUTE_MS)
    }

    #[tokio::test]
    async fn a_young_host_is_learned_by_the_minute() {
        let history = history(40, |_| Some(0.0)).await;
        let known = look(&history, host_id(1), 8.0, Metric::PowerWatts, after(40)).await.unwrap();
        assert_eq!((known.resolution, known.why), (Resolution::Full, None));
        assert!((known.line.idle - 100.0).abs() < 0.1, "{:?}", known.line);
        assert!((known.line.full - 200.0).abs() < 0.1, "{:?}", known.line);
    }

    #[tokio::test]
    async fn of_a_week_and_a_day_the_one_that_tells_more_counts() {
        // Five minutes of this load are 20 or 70 %: too few steps, so the minutes decide.
        let (history, end) = (history(3 * 1440, |_| Some(0.0)).await, after(3 * 1440));
        let known = look(&history, host_id(1), 8.0, Metric::PowerWatts, end).await.unwrap();
        assert_eq!((known.resolution, known.moments.len()), (Resolution::Full, 1440));
        assert!((known.line.full - 200.0).abs() < 0.1, "{:?}", known.line);
    }

    #[tokio::test]
    async fn a_host_without_watts_has_no_moments() {
        let history = history(40, |_| None).await;
        let known = look(&history, host_id(1), 8.0, Metric::PowerWatts, after(40)).await.unwrap();
        assert_eq!((known.moments.len(), known.why), (0, Some(NotLearned::TooFew { points: 0 })));
        assert_eq!(known.line.basis, drover_model::LineBasis::Default);
    }
}
