//! Metric history.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// Query of `GET /v1/hosts/{host}/metrics/{metric}` and of the guests' twin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SeriesQuery {
    /// How far back, e.g. `1h`; default `1h`, at most 366 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// `full`, `5m` or `1h`; default by span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
}

/// A series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Series {
    /// Metric name.
    pub metric: String,
    /// `percent`, `bytes`, `bytes/s` or `cores`.
    pub unit: String,
    /// `full`, `5m` or `1h`.
    pub resolution: String,
    /// Oldest first.
    pub points: Vec<SeriesPoint>,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesPoint {
    /// Start of the bucket.
    pub at: Time,
    /// Mean.
    pub mean: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Samples.
    pub count: u32,
}

/// Query of `GET /v1/history`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HistoryQuery {
    /// How far back, e.g. `7d`; default `1d`, at most 366 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// `full`, `5m` or `1h`; default by span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Begin of the span, milliseconds since 1970 UTC; instead of `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// End of the span, milliseconds since 1970 UTC; without it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
}

/// A page of everyone's history: what rules and plans look at, for the simulator and for
/// whoever wants to keep it elsewhere. A page ends when it has 200,000 points, at an
/// entity's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPage {
    /// Begin of the span, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// End of the span, milliseconds since 1970 UTC.
    pub to_ms: i64,
    /// `full`, `5m` or `1h`.
    pub resolution: String,
    /// Hosts first, then guests, each in the order of their ids.
    pub items: Vec<EntityHistory>,
    /// Completed moves of the span, the oldest first: on the first page only.
    pub moves: Vec<RecordedMove>,
    /// What to ask for as `after`; none on the last page.
    pub next: Option<String>,
}

/// One host's or guest's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EntityHistory {
    /// `host` or `guest`.
    pub kind: String,
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// `cpu.usage_active` and `mem.available` of a host, `guest.cpu_cores` and
    /// `guest.resident` of a guest.
    pub series: Vec<HistorySeries>,
}

/// A series in columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistorySeries {
    /// Metric name.
    pub metric: String,
    /// Start of each bucket, milliseconds after `from_ms`; the first may lie before it.
    pub at_ms: Vec<i64>,
    /// Mean of each bucket, in the metric's unit.
    pub mean: Vec<f64>,
}

/// A move that was completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordedMove {
    /// When it began, milliseconds since 1970 UTC.
    pub began_ms: i64,
    /// When the guest had moved, milliseconds since 1970 UTC.
    pub ended_ms: i64,
    /// Id of the guest.
    pub guest: String,
    /// Id of the source.
    pub from: String,
    /// Id of the target.
    pub to: String,
    /// `rule NAME` or `request of TOKEN`.
    pub cause: String,
}
