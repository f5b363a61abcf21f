//! `/v1/events`

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use drover_api::v1;
use drover_model::OperationId;

use super::Api;
use super::reply::{Failed, Reply, missing};
use super::show::{find_guest, find_host};
use crate::records::Tables;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    query: Result<Query<v1::EventQuery>, QueryRejection>,
) -> Reply<v1::List<v1::Event>> {
    let Query(mut query) = query?;
    {
        // Ids are allowed as well; events carry names.
        let tables = api.records.read();
        let named =
            |text: String| find_host(&tables, &text).map_or(text, |id| tables.host_name(id));
        query.host = query.host.map(named);
        query.guest = query
            .guest
            .map(|text| find_guest(&tables, &text).map_or(text, |id| tables.guest_name(id)));
    }
    let items = api.events.query(&query).await?;
    if items.is_empty() && query.after.is_none() {
        known(&api.records.read(), &query)?;
    }
    Ok(Json(v1::List { items }))
}

/// What is gone has its events; what was never there is a mistake in the question.
fn known(tables: &Tables, query: &v1::EventQuery) -> Result<(), Failed> {
    let host = query.host.as_deref().filter(|name| find_host(tables, name).is_none());
    let guest = query.guest.as_deref().filter(|name| find_guest(tables, name).is_none());
    let is_rule = |name: &str| tables.rules.iter().any(|rule| rule.name == name);
    let rule = query.rule.as_deref().filter(|name| !is_rule(name));
    let is_operation =
        |text: &str| text.parse().is_ok_and(|id: OperationId| tables.operations.get(id).is_some());
    let operation = query.operation.as_deref().filter(|text| !is_operation(text));
    let unknown = [("host", host), ("guest", guest), ("rule", rule), ("operation", operation)];
    match unknown.into_iter().find_map(|(kind, name)| name.map(|name| (kind, name))) {
        Some((kind, name)) => Err(missing(kind, name)),
        None => Ok(()),
    }
}
