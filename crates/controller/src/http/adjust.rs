//! `PATCH /v1/operations/{operation}`: new settings for a transfer that is under way.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_lifecycle::{Migration, MigrationEvent};
use drover_model::{MigrationMode, MigrationSettings, OperationId, PostCopy};

use super::Api;
use super::auth::Caller;
use super::operations::found;
use super::reply::{Failed, bad, missing};
use super::settings::{DOWNTIME_MS, bad_bandwidth, bad_downtime};
use crate::events::{Draft, Severity};

pub(super) async fn adjust(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    body: Result<Json<v1::AdjustRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::Operation>), Failed> {
    let Json(request) = body?;
    let id: OperationId = text.parse().map_err(|_| missing("operation", &text))?;
    let migration = {
        let tables = api.records.read();
        let record = tables.operations.get(id).ok_or_else(|| missing("operation", &text))?;
        record.migration.clone()
    };
    let settings = adjusted(&migration, &request)?;
    let event = MigrationEvent::Adjust(settings.clone());
    if migration.step(&event).is_err() {
        let state = migration.state.as_str();
        let detail = format!("operation {text} is {state}: it cannot be changed any more");
        return Err(Failed(
            Problem::new(ProblemKind::Conflict, detail)
                .hint("settings change until the guest is handed over; `drover operation show`"),
        ));
    }
    api.engine.take(id, event).await;
    let shown = found(&api, &text)?;
    let said = format!("{} changed the move of {}: {}", caller.name, shown.guest, words(&settings));
    let draft = Draft::new("audit.adjust", Severity::Info, said).operation(id);
    api.events.record(draft.guest(shown.guest.clone())).await;
    Ok((StatusCode::ACCEPTED, Json(shown)))
}

fn adjusted(
    migration: &Migration,
    request: &v1::AdjustRequest,
) -> Result<MigrationSettings, Failed> {
    let before = &migration.settings;
    if request == &v1::AdjustRequest::default() {
        return Err(bad(
            "nothing is to be changed",
            "give max_downtime_ms, max_bandwidth_mib_s, no_bandwidth_cap or post_copy_now",
        ));
    }
    if before.mode != MigrationMode::Live {
        return Err(bad(
            format!("a {} move has nothing to change while it runs", before.mode.as_str()),
            "only live migrations can be changed",
        ));
    }
    if request.max_downtime_ms.is_some_and(|millis| !DOWNTIME_MS.contains(&millis)) {
        return Err(bad_downtime());
    }
    if request.max_bandwidth_mib_s == Some(0) {
        return Err(bad_bandwidth());
    }
    if request.no_bandwidth_cap && request.max_bandwidth_mib_s.is_some() {
        return Err(bad("a cap and no cap cannot be had together", "give one of the two"));
    }
    if request.post_copy_now && before.parallel.is_some() {
        return Err(bad(
            "QEMU before 10.1 has no post-copy on several connections",
            "cancel the move and begin it again without `parallel`",
        ));
    }
    let cap = if request.no_bandwidth_cap {
        None
    } else {
        request.max_bandwidth_mib_s.or(before.max_bandwidth_mib_s)
    };
    let post_copy = if request.post_copy_now { PostCopy::Now } else { before.post_copy };
    Ok(MigrationSettings {
        max_downtime_ms: request.max_downtime_ms.unwrap_or(before.max_downtime_ms),
        max_bandwidth_mib_s: cap,
        post_copy,
        ..before.clone()
    })
}

fn words(settings: &MigrationSettings) -> String {
    let cap = settings
        .max_bandwidth_mib_s
        .map_or_else(|| "no cap".to_owned(), |cap| format!("at most {cap} MiB/s"));
    let post_copy = if settings.post_copy == PostCopy::Now { ", post-copy now" } else { "" };
    format!("downtime up to {} ms, {cap}{post_copy}", settings.max_downtime_ms)
}
