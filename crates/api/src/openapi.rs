//! The OpenAPI 3.1 document, made from the route table and the wire types.

use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::Problem;
use crate::routes::{Access, ROUTES, Route};
use crate::v1;

macro_rules! schemas {
    ($($kind:ty),+ $(,)?) => {{
        let mut all: Vec<(String, RefOr<Schema>)> = Vec::new();
        $(
            all.push((<$kind as ToSchema>::name().into_owned(), <$kind as PartialSchema>::schema()));
            <$kind as ToSchema>::schemas(&mut all);
        )+
        all
    }};
}

/// The whole document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Drover",
            "version": "v1",
            "description": "Keeps virtual machines running, balanced and cheap on power across a cluster of QEMU/KVM hosts.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": components(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "An API token." },
            },
        },
    })
}

fn components() -> Map<String, Value> {
    schemas![
        Problem,
        v1::Host,
        v1::HostDetail,
        v1::Guest,
        v1::GuestDetail,
        v1::AdjustRequest,
        v1::MigrateOptions,
        v1::MigrateRequest,
        v1::MigrateResponse,
        v1::MigrateSeveralRequest,
        v1::MigrateSeveralResponse,
        v1::DrainRequest,
        v1::DrainResponse,
        v1::Limits,
        v1::LimitsInForce,
        v1::CreateRule,
        v1::UpdateRule,
        v1::Rule,
        v1::RuleTest,
        v1::CreatePlacementRule,
        v1::PlacementRule,
        v1::UpdateLabels,
        v1::HostLabels,
        v1::SetBalance,
        v1::BalancePolicy,
        v1::Policies,
        v1::PreviewRequest,
        v1::ApplyRequest,
        v1::WhyNotRequest,
        v1::WhyNot,
        v1::Operation,
        v1::PastMove,
        v1::SetGuestPolicy,
        v1::GuestPolicy,
        v1::Plan,
        v1::Event,
        v1::EventQuery,
        v1::RemoveHostQuery,
        v1::CheckQuery,
        v1::GuestCheck,
        v1::Baseline,
        v1::ComputeBaseline,
        v1::ApplyBaseline,
        v1::AppliedCpu,
        v1::TrappedQuery,
        v1::TrappedGuest,
        v1::SeriesQuery,
        v1::Series,
        v1::HistoryQuery,
        v1::HistoryPage,
        v1::Watch,
        v1::CreateToken,
        v1::CreatedToken,
        v1::Token,
        v1::JoinToken,
        v1::CaCertificate,
        v1::EnrollRequest,
        v1::EnrollResponse,
        v1::Version,
    ]
    .into_iter()
    .chain(of_power())
    .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()))
    .collect()
}

/// What is about power.
fn of_power() -> Vec<(String, RefOr<Schema>)> {
    schemas![
        v1::SetBmc,
        v1::HostBmc,
        v1::SetHostPower,
        v1::HostPower,
        v1::ParkRequest,
        v1::ParkResponse,
        v1::Reserve,
        v1::PowerCurveQuery,
        v1::PowerCurve,
        v1::PowerReportQuery,
        v1::PowerReport,
        v1::SetPowerCap,
        v1::PowerCap,
        v1::SetPower,
        v1::PowerPolicy,
        v1::PowerDecision,
    ]
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "tags": [route.path.trim_start_matches("/v1/").split('/').next().unwrap_or("other")],
        "parameters": parameters(route),
        "responses": responses(route),
        "security": match route.access {
            Access::Open => json!([]),
            Access::Role(_) => json!([{ "token": [] }]),
        },
    });
    if let Access::Role(role) = route.access {
        operation["x-role"] = json!(role);
    }
    if let Some(body) = route.request {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": of(body) } } });
    }
    operation
}

/// `GET /v1/hosts/{host}` is `get_hosts_host`.
fn operation_id(route: &Route) -> String {
    let words: Vec<&str> = route
        .path
        .split(['/', '{', '}', '.'])
        .filter(|word| !word.is_empty() && *word != "v1")
        .collect();
    format!("{}_{}", route.method.to_lowercase(), words.join("_"))
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path =
        route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| {
            json!({
                "name": name, "in": "path", "required": true, "schema": { "type": "string" },
                "description": format!("Name or id of the {name}."),
            })
        });
    let query = route.query.map(|name| components().remove(name).unwrap_or_default());
    let in_query: Vec<Value> = query
        .as_ref()
        .and_then(|schema| schema["properties"].as_object())
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            json!({ "name": name, "in": "query", "required": false, "schema": schema })
        })
        .collect();
    in_path.chain(in_query).collect()
}

fn responses(route: &Route) -> Value {
    let ok = match route.response {
        None => json!({ "description": "Done." }),
        Some("text") => {
            json!({ "description": "Done.", "content": { "text/plain": { "schema": { "type": "string" } } } })
        }
        Some(kind) => match kind.strip_prefix("stream ") {
            Some(item) => {
                json!({ "description": "A stream of them.", "content": { "text/event-stream": { "schema": of(item) } } })
            }
            None => {
                json!({ "description": "Done.", "content": { "application/json": { "schema": of(kind) } } })
            }
        },
    };
    let problem = json!({
        "description": "What is wrong, and what to do about it.",
        "content": { "application/problem+json": { "schema": of("Problem") } },
    });
    json!({ route.status.to_string(): ok, "default": problem })
}

/// A type's schema; `[T]` is a list of them.
fn of(kind: &str) -> Value {
    match kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        Some(item) => json!({
            "type": "object",
            "required": ["items"],
            "properties": { "items": { "type": "array", "items": of(item) } },
        }),
        None => json!({ "$ref": format!("#/components/schemas/{kind}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value.as_str().filter(|_| key == "$ref") {
                        Some(target) => found.push(target.to_owned()),
                        None => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_resolves() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 40, "only {} references", found.len());
        for target in found {
            let pointer = target.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
        }
    }

    #[test]
    fn the_checked_in_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let kept: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap_or_default())
            .unwrap_or_default();
        assert!(
            kept == document(),
            "docs/openapi.json is out of date: cargo run -p drover-api --example openapi > docs/openapi.json"
        );
    }
}
