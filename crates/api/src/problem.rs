//! Errors as problem documents (RFC 9457, `application/problem+json`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What sort of error it is: stable, for scripts. One table of status codes and of the
/// command line's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The request is malformed or a value is out of its range.
    BadRequest,
    /// No or unknown credentials.
    Unauthenticated,
    /// The role does not allow it.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The name is taken, or the thing changed since it was read.
    Conflict,
    /// A decision says no; the detail tells the reasons.
    Refused,
    /// A limit is reached.
    LimitReached,
    /// Something Drover depends on does not answer; try again later.
    Unavailable,
    /// A fault in Drover.
    Internal,
    /// What was asked for was begun and did not succeed.
    Failed,
}

impl ProblemKind {
    /// HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Refused => 422,
            Self::LimitReached => 429,
            Self::Unavailable => 503,
            Self::Internal | Self::Failed => 500,
        }
    }

    /// Exit code of the command line; 2 is also what wrong usage ends with.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::BadRequest => 2,
            Self::Unauthenticated | Self::Forbidden => 3,
            Self::NotFound => 4,
            Self::Conflict => 5,
            Self::Refused | Self::LimitReached => 6,
            Self::Unavailable => 7,
            Self::Internal => 8,
        }
    }

    /// Short text for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "bad request",
            Self::Unauthenticated => "not authenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::LimitReached => "limit reached",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal error",
            Self::Failed => "failed",
        }
    }
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:drover:problem:<kind>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// Short text for the kind.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong, naming the thing.
    pub detail: String,
    /// The kind, for scripts.
    pub kind: ProblemKind,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let slug = kind.title().replace(' ', "-");
        Self {
            type_uri: format!("urn:drover:problem:{slug}"),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            kind,
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
