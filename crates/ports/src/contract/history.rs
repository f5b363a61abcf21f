//! Contract of the history port: each promise is one function; [`run`] keeps them all.

use std::sync::Arc;
use std::time::Duration;

use drover_model::{GuestId, HostId, Metric, Timestamp};

use crate::memory::roll_up;
use crate::{Entity, History, Resolution, Retention, SamplePoint, SeriesPoint};

const HOST: Entity = Entity::Host(HostId::from_u128(1));
const GUEST: Entity = Entity::Guest(GuestId::from_u128(1));
const CPU: Metric = Metric::CpuUsageActive;
const MEMORY: Metric = Metric::MemAvailable;
/// An hour's start, so that buckets are easy to count.
const START: i64 = 1_800_000_000_000;

/// Checks every promise. `make` gives a new, empty history each time.
///
/// # Panics
/// When a promise is broken; the message says which.
pub async fn run(make: impl Fn() -> Arc<dyn History>) {
    windows_are_whole_and_ordered(make().as_ref()).await;
    repeats_are_harmless(make().as_ref()).await;
    series_agree_with_recomputation(make().as_ref()).await;
    what_is_old_goes_and_rollups_stay(make().as_ref()).await;
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(START + second * 1000)
}

fn point(entity: Entity, second: i64, values: &[(Metric, f64)]) -> SamplePoint {
    SamplePoint { entity, at: at(second), values: values.to_vec() }
}

async fn windows_are_whole_and_ordered(history: &dyn History) {
    let points = vec![
        point(GUEST, 10, &[(CPU, 3.0)]),
        point(HOST, 20, &[(CPU, 2.0), (MEMORY, 5.0)]),
        point(HOST, 10, &[(CPU, 1.0)]),
        point(HOST, 31, &[(CPU, 9.0)]),
    ];
    history.append(points).await.expect("append");
    let window = history.window(at(10), at(30)).await.expect("window");
    let shown: Vec<(Entity, Timestamp, usize)> =
        window.iter().map(|point| (point.entity, point.at, point.values.len())).collect();
    assert_eq!(shown, [(HOST, at(10), 1), (HOST, at(20), 2), (GUEST, at(10), 1)]);
    assert_eq!(window[1].values, [(CPU, 2.0), (MEMORY, 5.0)], "values come back as they were");
    assert_eq!(history.window(at(100), at(200)).await.expect("window"), vec![]);
}

async fn repeats_are_harmless(history: &dyn History) {
    for _ in 0..2 {
        history.append(vec![point(HOST, 1, &[(CPU, 1.0)])]).await.expect("append");
    }
    history.append(vec![point(HOST, 1, &[(CPU, 7.0)])]).await.expect("append");
    let window = history.window(at(0), at(9)).await.expect("window");
    assert_eq!(window.len(), 1, "a second sample of one moment replaces the first");
    assert_eq!(window[0].values, [(CPU, 7.0)]);
}

fn close(a: &[SeriesPoint], b: &[SeriesPoint], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}: {a:?} and {b:?}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!((a.at, a.count), (b.at, b.count), "{what}");
        for (a, b) in [(a.mean, b.mean), (a.min, b.min), (a.max, b.max)] {
            assert!((a - b).abs() < 1e-9, "{what}: {a} and {b}");
        }
    }
}

/// Three hours of samples every 30 s that go up and down.
fn three_hours() -> Vec<(Timestamp, f64)> {
    (0..360).map(|n| (at(n * 30), f64::from(i32::try_from(n * 37 % 101).unwrap_or(0)))).collect()
}

async fn series_agree_with_recomputation(history: &dyn History) {
    let samples = three_hours();
    let points = samples.iter().rev().map(|(at, value)| SamplePoint {
        entity: HOST,
        at: *at,
        values: vec![(CPU, *value)],
    });
    history.append(points.collect()).await.expect("append");
    let read = |resolution| history.series(HOST, CPU, at(0), at(10_800), resolution);
    for compacted in [false, true] {
        for resolution in [Resolution::Full, Resolution::FiveMinutes, Resolution::Hour] {
            let expected = roll_up(samples.iter().copied(), resolution);
            let series = read(resolution).await.expect("series");
            close(&series, &expected, &format!("{resolution:?}, compacted {compacted}"));
        }
        for _ in 0..4 {
            // Safe to call again; several turns work through a backlog.
            history.compact(at(10_900), Retention::default()).await.expect("compact");
        }
    }
    let other = history.series(HOST, MEMORY, at(0), at(10_800), Resolution::Full).await;
    assert_eq!(other.expect("series"), vec![], "another metric has no points");
}

async fn what_is_old_goes_and_rollups_stay(history: &dyn History) {
    let points = three_hours().into_iter().map(|(at, value)| SamplePoint {
        entity: HOST,
        at,
        values: vec![(CPU, value)],
    });
    history.append(points.collect()).await.expect("append");
    let keep = Retention { full: Duration::from_secs(3600), ..Retention::default() };
    for _ in 0..4 {
        history.compact(at(10_900), keep).await.expect("compact");
    }
    let hours = history.series(HOST, CPU, at(0), at(10_800), Resolution::Hour).await;
    assert_eq!(hours.expect("series").len(), 3, "hours outlive the samples they came from");
    let nothing = Retention { hour: Duration::ZERO, ..keep };
    let later = at(10_900).plus(Duration::from_secs(400 * 86_400));
    history.compact(later, nothing).await.expect("compact");
    let left = history.window(at(0), at(10_800)).await.expect("window");
    assert_eq!(left, vec![], "what is older than every retention goes");
}
