//! `/v1/tokens` and join tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::TokenId;

use super::Api;
use super::auth::{Caller, word};
use super::reply::{Failed, bad, missing};
use crate::events::{Draft, Severity};
use crate::moment::rfc3339;
use crate::records::{TokenRecord, Txn};
use crate::tokens::{MAX_TOKENS, new_join, new_token};

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<v1::List<v1::Token>> {
    Json(v1::List { items: api.records.read().tokens.iter().map(shown).collect() })
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::CreateToken>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::CreatedToken>), Failed> {
    let Json(request) = body?;
    if request.name.is_empty() || request.name.len() > 63 {
        return Err(bad("the name must have 1 to 63 characters", "e.g. `backup` or `alice`"));
    }
    let (record, secret) = new_token(request.name, request.role, api.clock.now());
    let (room, free) = api
        .records
        .update(|tables| {
            let mut txn = Txn::none();
            let room = tables.tokens.len() < MAX_TOKENS;
            let free = !tables.tokens.iter().any(|token| token.name == record.name);
            if room && free {
                txn.add(record.clone());
            }
            (txn, (room, free))
        })
        .await?;
    if !free {
        let detail = format!("there is a token `{}` already", record.name);
        return Err(Failed(
            Problem::new(ProblemKind::Conflict, detail)
                .hint("`drover token revoke` revokes it; or choose another name"),
        ));
    }
    if !room {
        let detail = format!("there may be at most {MAX_TOKENS} tokens");
        return Err(Failed(
            Problem::new(ProblemKind::LimitReached, detail)
                .hint("`drover token revoke` makes room"),
        ));
    }
    let text = format!("{} made token `{}` ({})", caller.name, record.name, word(record.role));
    api.events.record(Draft::new("audit.token", Severity::Info, text)).await;
    Ok((StatusCode::CREATED, Json(v1::CreatedToken { token: shown(&record), secret })))
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<StatusCode, Failed> {
    let id: Option<TokenId> = text.parse().ok();
    let revoked = api
        .records
        .update(|tables| {
            let mut txn = Txn::none();
            let found = tables.tokens.iter().find(|t| Some(t.id) == id || t.name == text).cloned();
            if let Some(token) = &found {
                txn.delete_token(token.id);
            }
            (txn, found)
        })
        .await?
        .ok_or_else(|| missing("token", &text))?;
    let text = format!("{} revoked token `{}`", caller.name, revoked.name);
    api.events.record(Draft::new("audit.token", Severity::Info, text)).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn join(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<(StatusCode, Json<v1::JoinToken>), Failed> {
    let (record, token) = new_join(api.authority.fingerprint(), api.clock.now());
    let expires = rfc3339(record.expires);
    api.records
        .update(|_| {
            let mut txn = Txn::none();
            txn.add(record);
            (txn, ())
        })
        .await?;
    let text = format!("{} made a join token", caller.name);
    api.events.record(Draft::new("audit.join_token", Severity::Info, text)).await;
    let command = format!("drover-agent join {} --token {token}", api.api_url);
    Ok((StatusCode::CREATED, Json(v1::JoinToken { token, expires, command })))
}

fn shown(record: &TokenRecord) -> v1::Token {
    v1::Token {
        id: record.id.to_string(),
        name: record.name.clone(),
        role: record.role,
        created: rfc3339(record.created),
    }
}
