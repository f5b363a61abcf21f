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
