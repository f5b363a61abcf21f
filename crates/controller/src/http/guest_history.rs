//! `GET /v1/guests/{guest}/history`: the moves of one guest.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use drover_api::v1;

use super::Api;
use super::forecast::score;
use super::reply::{Reply, missing};
use super::show::{find_guest, operation};

/// Moves in one answer: the newest.
const MAX_LISTED: usize = 200;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Reply<v1::List<v1::PastMove>> {
    let tables = api.records.read();
    let guest = find_guest(&tables, &name).ok_or_else(|| missing("guest", &name))?;
    let of_guest = tables.operations.iter().rev().filter(|op| op.migration.guest == guest);
    let items = of_guest.take(MAX_LISTED).map(|record| {
        let shown = operation(&tables, &api.live, record, &[]);
        let lasted = record.changed().since(record.created).as_millis();
        v1::PastMove {
            operation: shown.id,
            at: shown.created,
            from: shown.from,
            to: shown.to,
            mode: record.migration.settings.mode.as_str().to_owned(),
            cause: shown.cause,
            state: shown.state,
            duration_ms: u64::try_from(lasted).unwrap_or(u64::MAX),
            outcome: shown.outcome,
            forecast_error: score(record),
            failure: shown.failure,
        }
    });
    Ok(Json(v1::List { items: items.collect() }))
}
