//! Who calls, and whether they may: decided from the route table before any handler.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use drover_api::routes::{Access, ROUTES};
use drover_api::v1::Role;
use drover_api::{Problem, ProblemKind};

use super::Api;
use super::reply::Failed;
use crate::tokens::find_token;

/// The caller, as the audit record names it.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) name: String,
}

pub(super) async fn check(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&api, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => Failed(problem).into_response(),
    }
}

fn admit(api: &Api, request: &Request) -> Result<Caller, Problem> {
    let nobody = Caller { name: "anonymous".to_owned() };
    let Some(path) = request.extensions().get::<MatchedPath>() else { return Ok(nobody) };
    let route = ROUTES
        .iter()
        .find(|route| route.path == path.as_str() && route.method == request.method().as_str());
    let Some(route) = route else { return Ok(nobody) };
    let Access::Role(needed) = route.access else { return Ok(nobody) };
    let text = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| {
            Problem::new(ProblemKind::Unauthenticated, "a bearer token is needed")
                .hint("set DROVER_TOKEN or `token` in the configuration file")
        })?;
    let token = find_token(&api.records.read(), text.trim()).ok_or_else(|| {
        Problem::new(ProblemKind::Unauthenticated, "the token is unknown or revoked")
            .hint("an administrator makes a new one with `drover token create`")
    })?;
    if token.role < needed {
        return Err(Problem::new(
            ProblemKind::Forbidden,
            format!(
                "token `{}` is a {} and this needs {}",
                token.name,
                word(token.role),
                word(needed)
            ),
        )
        .hint("an admin makes tokens with `drover token create NAME --role ROLE`"));
    }
    Ok(Caller { name: token.name })
}

pub(super) const fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}
