//! `/v1/operations`

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_lifecycle::MigrationEvent;
use drover_model::OperationId;

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, missing};
use super::show::{operation, operation_view};
use crate::events::{Draft, Severity};

/// Operations in one answer: the newest.
const MAX_LISTED: usize = 200;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<v1::List<v1::Operation>> {
    let tables = api.records.read();
    let newest = tables.operations.iter().rev().take(MAX_LISTED);
    Json(v1::List { items: newest.map(|record| operation(&tables, &api.live, record)).collect() })
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Reply<v1::Operation> {
    found(&api, &id).map(Json)
}

pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<v1::Operation>), Failed> {
    let id: OperationId = text.parse().map_err(|_| missing("operation", &text))?;
    let before = found(&api, &text)?;
    api.engine.take(id, MigrationEvent::CancelRequested).await;
    if !cancel_was_heard(&api, id) {
        let detail = format!("operation {text} is {} and can no longer be cancelled", before.state);
        return Err(Failed(
            Problem::new(ProblemKind::Conflict, detail)
                .hint("`drover operation show` tells how it ended"),
        ));
    }
    let text = format!("{} asked to cancel the move of {}", caller.name, before.guest);
    let draft = Draft::new("audit.cancel", Severity::Info, text).operation(id);
    api.events.record(draft.guest(before.guest)).await;
    Ok((StatusCode::ACCEPTED, Json(found(&api, &id.to_string())?)))
}

fn cancel_was_heard(api: &Api, id: OperationId) -> bool {
    api.records.read().operations.get(id).is_some_and(|record| record.migration.cancel_requested)
}

pub(super) fn found(api: &Api, text: &str) -> Result<v1::Operation, Failed> {
    let id: OperationId = text.parse().map_err(|_| missing("operation", text))?;
    operation_view(&api.records.read(), &api.live, id).ok_or_else(|| missing("operation", text))
}
