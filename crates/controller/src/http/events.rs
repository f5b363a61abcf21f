//! `/v1/events`

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use drover_api::v1;

use super::Api;
use super::reply::Reply;
use super::show::{find_guest, find_host, guest_name, host_name};

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    query: Result<Query<v1::EventQuery>, QueryRejection>,
) -> Reply<v1::List<v1::Event>> {
    let Query(mut query) = query?;
    {
        // Ids are allowed as well; events carry names.
        let tables = api.records.read();
        let named =
            |text: String| find_host(&tables, &text).map_or(text, |id| host_name(&tables, id));
        query.host = query.host.map(named);
        query.guest = query
            .guest
            .map(|text| find_guest(&tables, &text).map_or(text, |id| guest_name(&tables, id)));
    }
    Ok(Json(v1::List { items: api.events.query(&query).await? }))
}
