//! `/v1/…/metrics/{metric}`: history.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use drover_api::v1;
use drover_model::{Metric, MetricUnit};
use drover_ports::{Entity, Resolution};

use super::Api;
use super::reply::{Failed, Reply, bad, missing};
use super::show::{find_guest, find_host};
use super::spans;
use crate::moment::rfc3339;

const DEFAULT_SPAN: Duration = Duration::from_secs(3600);
pub(super) const MAX_SPAN: Duration = Duration::from_secs(366 * 86_400);

type Asked = Result<Query<v1::SeriesQuery>, QueryRejection>;

/// How far back.
pub(super) const SPAN: &str = "write for example 30m, 24h or 7d";

pub(super) async fn host(
    State(api): State<Arc<Api>>,
    Path((name, metric)): Path<(String, String)>,
    query: Asked,
) -> Reply<v1::Series> {
    let found = find_host(&api.records.read(), &name);
    let id = found.ok_or_else(|| missing("host", &name))?;
    series(&api, Entity::Host(id), &metric, query?.0).await
}

pub(super) async fn guest(
    State(api): State<Arc<Api>>,
    Path((name, metric)): Path<(String, String)>,
    query: Asked,
) -> Reply<v1::Series> {
    let found = find_guest(&api.records.read(), &name);
    let id = found.ok_or_else(|| missing("guest", &name))?;
    series(&api, Entity::Guest(id), &metric, query?.0).await
}

async fn series(
    api: &Api,
    entity: Entity,
    metric: &str,
    query: v1::SeriesQuery,
) -> Reply<v1::Series> {
    let metric: Metric = metric.parse().map_err(|_| unknown(metric))?;
    let span = match &query.since {
        Some(text) => spans::span("since", text)?,
        None => DEFAULT_SPAN,
    };
    if span > MAX_SPAN {
        return Err(bad("history goes back 366 days at most", SPAN));
    }
    let resolution = resolution(query.resolution.as_deref(), span)?;
    let now = api.clock.now();
    let points = api.history.series(entity, metric, now.minus(span), now, resolution).await?;
    Ok(Json(v1::Series {
        metric: metric.to_string(),
        unit: match metric.unit() {
            MetricUnit::Percent => "percent",
            MetricUnit::Bytes => "bytes",
            MetricUnit::BytesPerSecond => "bytes/s",
            MetricUnit::Cores => "cores",
            MetricUnit::Watts => "watts",
        }
        .to_owned(),
        resolution: name(resolution).to_owned(),
        points: points
            .into_iter()
            .map(|point| v1::SeriesPoint {
                at: rfc3339(point.at),
                mean: point.mean,
                min: point.min,
                max: point.max,
                count: point.count,
            })
            .collect(),
    }))
}

/// As it is asked for.
pub(super) const fn name(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Full => "full",
        Resolution::FiveMinutes => "5m",
        Resolution::Hour => "1h",
    }
}

pub(super) fn resolution(asked: Option<&str>, span: Duration) -> Result<Resolution, Failed> {
    match asked {
        Some("full") => Ok(Resolution::Full),
        Some("5m") => Ok(Resolution::FiveMinutes),
        Some("1h") => Ok(Resolution::Hour),
        Some(other) => {
            Err(bad(format!("there is no resolution `{other}`"), "it is full, 5m or 1h"))
        }
        None if span <= Duration::from_secs(86_400) => Ok(Resolution::Full),
        None if span <= Duration::from_secs(31 * 86_400) => Ok(Resolution::FiveMinutes),
        None => Ok(Resolution::Hour),
    }
}

fn unknown(metric: &str) -> Failed {
    let known: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    bad(format!("`{metric}` is not a metric"), &format!("there are {}", known.join(", ")))
}
