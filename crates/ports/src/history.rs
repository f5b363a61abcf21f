//! Metric history: full rate for a day, rollups for a year, bounded in size.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{GuestId, HostId, Metric, Timestamp};

/// What a series belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// A host.
    Host(HostId),
    /// A guest.
    Guest(GuestId),
}

/// All metrics of one entity at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplePoint {
    /// Whose.
    pub entity: Entity,
    /// When. A second sample of the same entity and moment replaces the first.
    pub at: Timestamp,
    /// Values by metric.
    pub values: Vec<(Metric, f64)>,
}

impl SamplePoint {
    /// As it is kept: values in the order of their metrics, the last one of each metric,
    /// and none that is not a finite number.
    pub fn canonical(self) -> Self {
        let by_metric: BTreeMap<Metric, f64> =
            self.values.into_iter().filter(|(_, value)| value.is_finite()).collect();
        Self { values: by_metric.into_iter().collect(), ..self }
    }
}

/// One value at full rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// In the metric's unit.
    pub value: f64,
}

/// How finely history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Every sample.
    Full,
    /// One point per 5 minutes.
    FiveMinutes,
    /// One point per hour.
    Hour,
}

impl Resolution {
    /// Length of one bucket; zero at full rate.
    pub const fn bucket(self) -> Duration {
        match self {
            Self::Full => Duration::ZERO,
            Self::FiveMinutes => Duration::from_secs(300),
            Self::Hour => Duration::from_secs(3600),
        }
    }

    /// Start of the bucket that `at` lies in; `at` itself at full rate.
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let length = i64::try_from(self.bucket().as_millis()).unwrap_or(i64::MAX).max(1);
        Timestamp::from_millis(at.as_millis().saturating_sub(at.as_millis().rem_euclid(length)))
    }
}

/// One bucket of a series. At full rate mean, min and max are the sample itself; coarser,
/// they may be rounded to six significant digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesPoint {
    /// Start of the bucket.
    pub at: Timestamp,
    /// Arithmetic mean of the samples.
    pub mean: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// How many samples.
    pub count: u32,
}

/// How long each resolution is kept. History is dropped in blocks: a little of what is
/// older may stay, at most [`MAX_OVERDUE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Every sample.
    pub full: Duration,
    /// Five-minute buckets.
    pub five_minutes: Duration,
    /// Hourly buckets.
    pub hour: Duration,
    /// Most bytes that history may take on disk. The oldest full-rate samples go first, up
    /// to the last hour; then the oldest five-minute buckets, then hourly ones.
    pub max_bytes: u64,
}

impl Default for Retention {
    /// 24 hours at full rate, 31 days of five minutes, a year of hours, 4 GiB.
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Self { full: day, five_minutes: day * 31, hour: day * 366, max_bytes: 4 << 30 }
    }
}

/// Why history did not do it, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Busy or out of reach; the same call may succeed later.
    #[error("metric history is out of reach: {0}")]
    Retry(String),
    /// Damaged or full; an operator has to look.
    #[error("metric history is broken: {0}")]
    Broken(String),
}

/// Keeps samples and answers windows.
#[async_trait]
pub trait History: Send + Sync {
    /// Keeps these samples in their canonical form; all or none. Order does not matter,
    /// repeats are harmless, and what comes late still counts in its buckets, unless it is
    /// older than the full rate is kept.
    async fn append(&self, points: Vec<SamplePoint>) -> Result<(), HistoryError>;

    /// Every sample of every entity with `from <= at <= to`, ordered by entity and time.
    /// This is what rules are evaluated on, in one call for the whole cluster.
    async fn window(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SamplePoint>, HistoryError>;

    /// One metric of one entity over a span, oldest first, at most
    /// [`MAX_SERIES_POINTS`] points (the newest are kept). Coarser than full rate the
    /// answer is every bucket that the span touches, whole.
    async fn series(
        &self,
        entity: Entity,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        resolution: Resolution,
    ) -> Result<Vec<SeriesPoint>, HistoryError>;

    /// Rolls up what is complete before `now` and drops what is older than `retention`
    /// or beyond its size. Safe to call at any time and again.
    async fn compact(&self, now: Timestamp, retention: Retention) -> Result<(), HistoryError>;
}

/// How long beyond its time a sample or bucket may stay.
pub const MAX_OVERDUE: Duration = Duration::from_secs(2 * 86_400);
/// Most points of one series answer: a day of 5 s samples is 17,280.
pub const MAX_SERIES_POINTS: usize = 20_000;
