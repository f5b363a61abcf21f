//! In-memory metric history.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{Metric, Timestamp};

use crate::{
    Entity, History, HistoryError, MAX_SERIES_POINTS, Resolution, Retention, SamplePoint,
    SeriesPoint,
};

/// About what a sample takes beside its values, and what a value takes.
const SAMPLE_BYTES: u64 = 32;
const VALUE_BYTES: u64 = 9;
/// The last hour of full-rate samples is kept whatever its size.
const NEWEST: Duration = Duration::from_secs(3600);

/// A history that is forgotten with the process. It keeps samples for as long as the
/// coarsest resolution, rolls up on reading and hides what would be gone elsewhere.
#[derive(Debug, Default)]
pub struct MemoryHistory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    samples: BTreeMap<(Entity, Timestamp), Vec<(Metric, f64)>>,
    /// Where each resolution begins.
    full: Option<Timestamp>,
    five_minutes: Option<Timestamp>,
    hour: Option<Timestamp>,
}

impl Inner {
    fn begins(&self, resolution: Resolution) -> Timestamp {
        match resolution {
            Resolution::Full => self.full,
            Resolution::FiveMinutes => self.five_minutes,
            Resolution::Hour => self.hour,
        }
        .unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    /// Raises the beginning of the full rate until the samples fit.
    fn bound(&mut self, now: Timestamp, max_bytes: u64) {
        let begin = self.begins(Resolution::Full);
        let mut sizes: Vec<(Timestamp, u64)> = self
            .samples
            .iter()
            .filter(|((_, at), _)| *at >= begin)
            .map(|((_, at), values)| (*at, SAMPLE_BYTES + VALUE_BYTES * values.len() as u64))
            .collect();
        sizes.sort_unstable();
        let mut size: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        for (at, bytes) in sizes {
            if size <= max_bytes || at >= now.minus(NEWEST) {
                break;
            }
            size -= bytes;
            self.full = Some(Timestamp::from_millis(at.as_millis() + 1));
        }
    }
}

impl MemoryHistory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rolls samples (oldest first) into buckets; at full rate each sample is its own.
pub fn roll_up(
    samples: impl Iterator<Item = (Timestamp, f64)>,
    resolution: Resolution,
) -> Vec<SeriesPoint> {
    let mut points: Vec<SeriesPoint> = Vec::new();
    for (at, value) in samples {
        let start = resolution.start_of(at);
        match points.last_mut().filter(|point| resolution != Resolution::Full && point.at == start)
        {
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
        let mut inner = self.lock();
        let begin = inner.begins(Resolution::Full);
        for point in points.into_iter().map(SamplePoint::canonical) {
            if point.at >= begin {
                inner.samples.insert((point.entity, point.at), point.values);
            }
        }
        Ok(())
    }

    async fn window(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SamplePoint>, HistoryError> {
        let inner = self.lock();
        let from = from.max(inner.begins(Resolution::Full));
        Ok(inner
            .samples
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
        if from > to {
            return Ok(Vec::new());
        }
        let inner = self.lock();
        let first = resolution.start_of(from).max(inner.begins(resolution));
        let last = resolution.start_of(to);
        let samples = inner
            .samples
            .range((entity, first)..)
            .take_while(|((of, at), _)| *of == entity && resolution.start_of(*at) <= last)
            .filter_map(|((_, at), values)| {
                Some((*at, values.iter().find(|(name, _)| *name == metric)?.1))
            });
        let mut points = roll_up(samples, resolution);
        let surplus = points.len().saturating_sub(MAX_SERIES_POINTS);
        points.drain(..surplus);
        Ok(points)
    }

    async fn compact(&self, now: Timestamp, retention: Retention) -> Result<(), HistoryError> {
        let mut inner = self.lock();
        let begin = |span| Some(now.minus(span));
        inner.full = inner.full.max(begin(retention.full));
        inner.five_minutes = inner
            .five_minutes
            .max(begin(retention.five_minutes).map(|at| Resolution::FiveMinutes.start_of(at)));
        inner.hour = inner.hour.max(begin(retention.hour).map(|at| Resolution::Hour.start_of(at)));
        let oldest = inner.full.min(inner.five_minutes).min(inner.hour);
        inner.samples.retain(|(_, at), _| Some(*at) >= oldest);
        inner.bound(now, retention.max_bytes);
        Ok(())
    }
}
