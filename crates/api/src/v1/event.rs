//! Events: what was seen, decided and done.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// One event. Kinds are stable; `detail` holds the numbers by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Grows by at least one with each event.
    pub sequence: u64,
    /// When.
    pub at: Time,
    /// E.g. `rule.fired`, `rule.cleared`, `rule.waiting`, `rule.no_plan`, `plan.made`,
    /// `migration.started`, `migration.completed`, `migration.failed`, `host.online`,
    /// `host.unreachable`, `guest.adopted`, `audit.change`.
    pub kind: String,
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// One sentence that names everything it is about.
    pub message: String,
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Guest name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// Rule name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Operation id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Plan id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Numbers and texts by name, e.g. `value`, `threshold`, `from_before`.
    #[serde(default)]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// Query of `GET /v1/events`. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EventQuery {
    /// Only events after this sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many, the newest; default 100, at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Host name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Guest name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// Rule name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Operation id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}
