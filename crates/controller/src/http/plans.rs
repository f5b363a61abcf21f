//! `/v1/plans`

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use drover_api::v1;
use drover_model::PlanId;

use super::Api;
use super::reply::{Reply, missing};
use super::show::plan;

/// Plans in one answer: the newest.
const MAX_LISTED: usize = 100;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<v1::List<v1::Plan>> {
    let tables = api.records.read();
    let newest = tables.plans.iter().rev().take(MAX_LISTED);
    Json(v1::List { items: newest.map(|record| plan(&tables, record)).collect() })
}

pub(super) async fn show(State(api): State<Arc<Api>>, Path(text): Path<String>) -> Reply<v1::Plan> {
    let tables = api.records.read();
    let id: Option<PlanId> = text.parse().ok();
    id.and_then(|id| tables.plans.get(id))
        .map(|record| Json(plan(&tables, record)))
        .ok_or_else(|| missing("plan", &text))
}
