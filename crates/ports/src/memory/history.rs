//! In-memory metric history.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use drover_model::{Metric, Timestamp};

use crate::{
    Entity, History, HistoryError, MAX_SERIES_POINTS, Resolution, Retention, SamplePoint,
    SeriesPoint,
};

/// A history that is forgotten with the process. It keeps full samples for as long as the
/// coarsest resolution and rolls up on reading.
#[derive(Debug, Default)]
pub struct MemoryHistory(Mutex<Samples>);

type Samples = BTreeMap<(Entity, Timestamp), Vec<(Metric, f64)>>;

impl MemoryHistory {
    fn lock(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rolls samples (oldest first) into buckets; at full rate each sample is its own.
pub fn roll_up(
    samples: impl Iterator<Item = (Timestamp, f64)>,
    resolution: Resolution,
) -> Vec<SeriesPoint> {
    let bucket = i64::try_from(resolution.bucket().as_millis()).unwrap_or(i64::MAX);
    let mut points: Vec<SeriesPoint> = Vec::new();
    for (at, value) in samples {
        let start = if bucket == 0 {
            at
        } else {
            Timestamp::from_millis(at.as_millis() - at.as_millis().rem_euclid(bucket))
        };
        match points.last_mut().filter(|point| bucket > 0 && point.at == start) {
            Some(point) => {
                let count = f64::from(point.count);
                point.mean = (point.mean * count + value) / (count + 1.0);
                point.min = point.min.min(value);
                point.max = point.max.max(value);
                point.count += 1;
            }
            None => {
                points.push(SeriesPoint {
                    at: start,
                    mean: value,
                    min: value,
                    max: value,
                    count: 1,
                });
            }
        }
    }
    points
}

#[async_trait]
impl History for MemoryHistory {
    async fn append(&self, points: Vec<SamplePoint>) -> Result<(), HistoryError> {
        let mut all = self.lock();
        for point in points {
            all.insert((point.entity, point.at), point.values);
        }
        Ok(())
    }

    async fn window(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SamplePoint>, HistoryError> {
        Ok(self
            .lock()
            .iter()
            .filter(|((_, at), _)| *at >= from && *at <= to)
            .map(|((entity, at), values)| SamplePoint {
                entity: *entity,
                at: *at,
                values: values.clone(),
            })
            .collect())
    }

    async fn series(
        &self,
        entity: Entity,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        resolution: Resolution,
    ) -> Result<Vec<SeriesPoint>, HistoryError> {
        let all = self.lock();
        let samples = all.range((entity, from)..=(entity, to)).filter_map(|((_, at), values)| {
            Some((*at, values.iter().find(|(name, _)| *name == metric)?.1))
        });
        let mut points = roll_up(samples, resolution);
        let surplus = points.len().saturating_sub(MAX_SERIES_POINTS);
        points.drain(..surplus);
        Ok(points)
    }

    async fn compact(&self, now: Timestamp, retention: Retention) -> Result<(), HistoryError> {
        let oldest = now.minus(retention.hour);
        self.lock().retain(|(_, at), _| *at >= oldest);
        Ok(())
    }
}
