//! `/v1/history`: what rules look at, of everyone, page by page.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use drover_api::v1;
use drover_lifecycle::MigrationState;
use drover_model::{GuestId, HostId, Metric, Timestamp};
use drover_ports::{Entity, Resolution};

use super::Api;
use super::metrics::{MAX_SPAN, SPAN, name, resolution};
use super::reply::{Failed, Reply, bad};
use super::spans;
use crate::records::Tables;

const DEFAULT_SPAN: Duration = Duration::from_secs(86_400);
/// Points after which a page ends: about 4 MB of JSON, and a second of reading.
const MAX_PAGE_POINTS: usize = 200_000;
/// Entities after which a page ends: each costs two reads, also when it has no points.
const MAX_PAGE_ENTITIES: usize = 500;

const HOST_METRICS: [Metric; 2] = [Metric::CpuUsageActive, Metric::MemAvailable];
const GUEST_METRICS: [Metric; 2] = [Metric::GuestCpuCores, Metric::GuestResident];

pub(super) async fn page(
    State(api): State<Arc<Api>>,
    query: Result<Query<v1::HistoryQuery>, QueryRejection>,
) -> Reply<v1::HistoryPage> {
    let query = query?.0;
    let (from, to) = span(&query, api.clock.now())?;
    let resolution = resolution(query.resolution.as_deref(), to.since(from))?;
    let after = query.after.as_deref().map(entity).transpose()?;
    let (todo, moves) = {
        let tables = api.records.read();
        let moves = if after.is_none() { moves(&tables, from, to) } else { Vec::new() };
        (entities(&tables, after), moves)
    };
    let mut items = Vec::new();
    let mut points = 0;
    let mut next = None;
    for (entity, label) in todo {
        if points >= MAX_PAGE_POINTS || items.len() >= MAX_PAGE_ENTITIES {
            next =
                items.last().map(|item: &v1::EntityHistory| format!("{}:{}", item.kind, item.id));
            break;
        }
        let item = read(&api, entity, label, (from, to), resolution).await?;
        points += item.series.iter().map(|series| series.at_ms.len()).sum::<usize>();
        items.push(item);
    }
    Ok(Json(v1::HistoryPage {
        from_ms: from.as_millis(),
        to_ms: to.as_millis(),
        resolution: name(resolution).to_owned(),
        items,
        moves,
        next,
    }))
}

fn span(query: &v1::HistoryQuery, now: Timestamp) -> Result<(Timestamp, Timestamp), Failed> {
    let to = query.to_ms.map_or(now, Timestamp::from_millis);
    let from = match (&query.since, query.from_ms) {
        (Some(_), Some(_)) => return Err(bad("either since or from_ms", SPAN)),
        (None, Some(from)) => Timestamp::from_millis(from),
        (Some(text), None) => to.minus(spans::span("since", text)?),
        (None, None) => to.minus(DEFAULT_SPAN),
    };
    if from > to {
        return Err(bad("the span ends before it begins", SPAN));
    }
    if to.since(from) > MAX_SPAN {
        return Err(bad("history goes back 366 days at most", SPAN));
    }
    Ok((from, to))
}

/// Every host, then every guest, by id, from the one after `after` on.
fn entities(tables: &Tables, after: Option<Entity>) -> Vec<(Entity, String)> {
    let hosts = tables.hosts.iter().map(|record| {
        let host = &record.host;
        (Entity::Host(host.id), host.name.clone())
    });
    let guests = tables.guests.iter().filter(|record| !record.absent).map(|record| {
        let guest = &record.guest;
        (Entity::Guest(guest.id), guest.name.clone())
    });
    let mut all: Vec<(Entity, String)> = hosts.chain(guests).collect();
    all.sort_unstable();
    all.retain(|(entity, _)| after.is_none_or(|after| *entity > after));
    all
}

fn entity(text: &str) -> Result<Entity, Failed> {
    let found = match text.split_once(':') {
        Some(("host", id)) => HostId::from_str(id).ok().map(Entity::Host),
        Some(("guest", id)) => GuestId::from_str(id).ok().map(Entity::Guest),
        _ => None,
    };
    found.ok_or_else(|| bad(format!("there is no page after `{text}`"), "pass `next` as it came"))
}

async fn read(
    api: &Api,
    entity: Entity,
    label: String,
    (from, to): (Timestamp, Timestamp),
    resolution: Resolution,
) -> Result<v1::EntityHistory, Failed> {
    let (kind, id, metrics) = match entity {
        Entity::Host(id) => ("host", id.to_string(), HOST_METRICS),
        Entity::Guest(id) => ("guest", id.to_string(), GUEST_METRICS),
    };
    let mut series = Vec::new();
    for metric in metrics {
        let points = api.history.series(entity, metric, from, to, resolution).await?;
        series.push(v1::HistorySeries {
            metric: metric.to_string(),
            at_ms: points.iter().map(|point| point.at.as_millis() - from.as_millis()).collect(),
            mean: points.iter().map(|point| point.mean).collect(),
        });
    }
    Ok(v1::EntityHistory { kind: kind.to_owned(), id, name: label, series })
}

fn moves(tables: &Tables, from: Timestamp, to: Timestamp) -> Vec<v1::RecordedMove> {
    let mut moves: Vec<v1::RecordedMove> = tables
        .operations
        .iter()
        .filter_map(|record| {
            let ended = match record.migration.state {
                MigrationState::Completed { .. } => record.entered("completed")?,
                _ => return None,
            };
            (ended >= from && ended <= to).then(|| v1::RecordedMove {
                began_ms: record.created.as_millis(),
                ended_ms: ended.as_millis(),
                guest: record.migration.guest.to_string(),
                from: record.migration.from.to_string(),
                to: record.migration.to.to_string(),
                cause: record.cause.to_string(),
            })
        })
        .collect();
    moves.sort_by_key(|moved| moved.ended_ms);
    moves
}
