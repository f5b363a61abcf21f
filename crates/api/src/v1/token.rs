//! API tokens and join tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What a token may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Viewer,
    /// Also change rules and move guests.
    Operator,
    /// Also join hosts and make tokens.
    Admin,
}

/// What `POST /v1/tokens` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Who uses it: appears in the audit record.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A token in a list: never with its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Id.
    pub id: String,
    /// Who uses it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: Time,
}

/// What `POST /v1/tokens` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// The bearer token itself: shown only now, stored only as a hash.
    pub secret: String,
}

/// What `POST /v1/hosts/tokens` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinToken {
    /// `drv1_<id>_<secret>_<sha256 of the CA certificate>`: good for one host.
    pub token: String,
    /// Until when.
    pub expires: Time,
    /// The command to run on the new host.
    pub command: String,
}
