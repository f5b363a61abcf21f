//! Contract of the history port.

mod reads;
mod retention;
mod rollups;

use std::sync::Arc;
use std::time::Duration;

use drover_model::{GuestId, HostId, Metric, Timestamp};

use crate::contract::report::{promise, promise_eq, run_all};
use crate::contract::{Kept, Unkept};
use crate::{Entity, History, HistoryError, Resolution, SamplePoint, SeriesPoint};

pub use rollups::{Step, rollups_agree_with_recomputation};

type Subject = Arc<dyn History>;

/// Checks every promise of [`History`]; `make` gives a new, empty history each time.
///
/// # Panics
///
/// With the names of the promises that were not kept. That is what it is for.
pub async fn run(make: impl AsyncFn() -> Arc<dyn History>) {
    run_all!("history", make;
        reads::a_window_holds_what_was_appended_by_entity_and_time,
        reads::a_window_includes_both_its_ends,
        reads::samples_are_kept_in_their_canonical_form,
        reads::a_second_sample_of_the_same_moment_replaces_the_first,
        reads::repeats_are_harmless,
        reads::order_does_not_matter,
        reads::a_full_series_is_one_metric_of_one_entity,
        reads::a_series_keeps_the_newest_of_too_many_points,
        reads::any_span_may_be_asked_for,
        rollups::buckets_are_right_before_and_after_compaction,
        rollups::a_coarse_series_answers_whole_buckets,
        rollups::late_samples_count_in_their_buckets,
        rollups::compaction_may_be_repeated_and_overlap,
        retention::each_resolution_goes_at_its_age,
        retention::buckets_outlive_their_samples,
        retention::the_oldest_full_samples_go_beyond_the_size,
    );
}

const HOST: Entity = Entity::Host(HostId::from_u128(7));
const GUEST: Entity = Entity::Guest(GuestId::from_u128(9));
const CPU: Metric = Metric::CpuUsageActive;
const MEM: Metric = Metric::MemAvailable;
/// 2026-01-01 00:00 UTC: a bucket begins at every resolution.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn sample(entity: Entity, at: Timestamp, value: f64) -> SamplePoint {
    SamplePoint { entity, at, values: vec![(CPU, value)] }
}

/// The series of one metric at one resolution, over all time that samples are from.
async fn series(
    history: &Subject,
    entity: Entity,
    resolution: Resolution,
) -> Result<Vec<SeriesPoint>, HistoryError> {
    history.series(entity, CPU, START, START.plus(DAY * 800), resolution).await
}

/// Buckets as anyone would compute them.
fn recomputed(samples: &[(Timestamp, f64)], resolution: Resolution) -> Vec<SeriesPoint> {
    let mut samples = samples.to_vec();
    samples.sort_by_key(|(at, _)| *at);
    samples
        .chunk_by(|a, b| resolution.start_of(a.0) == resolution.start_of(b.0))
        .map(|bucket| {
            let values = bucket.iter().map(|(_, value)| *value);
            let count = u32::try_from(bucket.len()).unwrap_or(u32::MAX);
            SeriesPoint {
                at: resolution.start_of(bucket[0].0),
                mean: values.clone().sum::<f64>() / f64::from(count),
                min: values.clone().fold(f64::INFINITY, f64::min),
                max: values.fold(f64::NEG_INFINITY, f64::max),
                count,
            }
        })
        .collect()
}

/// The same moments and counts, and values to six digits of the largest.
fn agree(found: &[SeriesPoint], wanted: &[SeriesPoint], what: &str) -> Kept {
    promise_eq!(found.len(), wanted.len(), format!("how many points, {what}"));
    for (found, wanted) in found.iter().zip(wanted) {
        let near = |a: f64, b: f64| {
            (a - b).abs() <= 1e-6 * wanted.min.abs().max(wanted.max.abs()).max(1e-30)
        };
        let same = (found.at, found.count) == (wanted.at, wanted.count);
        let all = same
            && near(found.mean, wanted.mean)
            && near(found.min, wanted.min)
            && near(found.max, wanted.max);
        promise!(all, "{what}: found {found:?}, wanted {wanted:?}");
    }
    Ok(())
}

/// Waits for a task of a check.
async fn joined(task: tokio::task::JoinHandle<Result<(), HistoryError>>) -> Kept {
    Ok(task.await.map_err(|error| Unkept(format!("a task ended: {error}")))??)
}
