//! Answers: JSON, or a problem document.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use drover_api::{Problem, ProblemKind};
use drover_ports::{HistoryError, StoreError};

use crate::records::RecordError;

/// What a handler returns.
pub(super) type Reply<T> = Result<Json<T>, Failed>;

/// A problem on its way out.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Problem);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(self.0)).into_response()
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<RecordError> for Failed {
    fn from(error: RecordError) -> Self {
        let (kind, hint) = match &error {
            RecordError::Stale { .. } | RecordError::Store(StoreError::Conflict { .. }) => {
                (ProblemKind::Conflict, "somebody else changed it meanwhile: look again")
            }
            RecordError::Store(StoreError::Retry(_)) => {
                (ProblemKind::Unavailable, "try again in a moment")
            }
            RecordError::Store(_) | RecordError::Unreadable { .. } => (ProblemKind::Internal, LOG),
        };
        Self(Problem::new(kind, chain(&error)).hint(hint))
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        RecordError::from(error).into()
    }
}

impl From<HistoryError> for Failed {
    fn from(error: HistoryError) -> Self {
        Self(Problem::new(ProblemKind::Unavailable, error.to_string()).hint(LOG))
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self(Problem::new(ProblemKind::Internal, format!("{error:#}")).hint(LOG))
    }
}

impl From<JsonRejection> for Failed {
    fn from(rejection: JsonRejection) -> Self {
        bad(rejection.body_text(), DESCRIBED)
    }
}

impl From<QueryRejection> for Failed {
    fn from(rejection: QueryRejection) -> Self {
        bad(rejection.body_text(), DESCRIBED)
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A request that cannot be understood, and what would be.
pub(super) fn bad(detail: impl Into<String>, hint: &str) -> Failed {
    Failed(Problem::new(ProblemKind::BadRequest, detail).hint(hint))
}

/// What every body and parameter looks like.
const DESCRIBED: &str = "GET /v1/openapi.json describes every request";
/// What an error of droverd's own asks for.
const LOG: &str = "droverd's log says more";

pub(super) fn missing(kind: &str, name: &str) -> Failed {
    let hint = match kind {
        "host" => "`drover host list` shows the hosts",
        "guest" => "`drover guest list` shows the guests",
        "placement rule" => "`drover placement list` shows the placement rules",
        "rule" => "`drover rule list` shows the rules",
        "power cap" => "`drover policy show` shows the power caps",
        "operation" => "`drover operation list` shows the operations",
        "baseline" => "`drover baseline compute` makes one",
        "plan" => "`drover plan history` shows the plans",
        _ => "`drover token list` shows the tokens",
    };
    Failed(Problem::new(ProblemKind::NotFound, format!("there is no {kind} `{name}`")).hint(hint))
}

pub(super) async fn no_route() -> Failed {
    Failed(
        Problem::new(ProblemKind::NotFound, "there is no such path")
            .hint("GET /v1/openapi.json lists them"),
    )
}
