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
        let kind = match &error {
            RecordError::Store(StoreError::Conflict { .. }) => ProblemKind::Conflict,
            RecordError::Store(StoreError::Retry(_)) => ProblemKind::Unavailable,
            RecordError::Store(_) | RecordError::Unreadable { .. } => ProblemKind::Internal,
        };
        Self(Problem::new(kind, chain(&error)))
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        RecordError::from(error).into()
    }
}

impl From<HistoryError> for Failed {
    fn from(error: HistoryError) -> Self {
        Self(Problem::new(ProblemKind::Unavailable, error.to_string()))
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self(Problem::new(ProblemKind::Internal, format!("{error:#}")))
    }
}

impl From<JsonRejection> for Failed {
    fn from(rejection: JsonRejection) -> Self {
        Self(Problem::new(ProblemKind::BadRequest, rejection.body_text()))
    }
}

impl From<QueryRejection> for Failed {
    fn from(rejection: QueryRejection) -> Self {
        Self(Problem::new(ProblemKind::BadRequest, rejection.body_text()))
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

pub(super) fn bad(detail: impl Into<String>) -> Failed {
    Failed(Problem::new(ProblemKind::BadRequest, detail))
}

pub(super) fn missing(kind: &str, name: &str) -> Failed {
    let hint = match kind {
        "host" => "`drover host list` shows the hosts",
        "guest" => "`drover guest list` shows the guests",
        "rule" => "`drover rule list` shows the rules",
        "operation" => "`drover operation list` shows the operations",
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
