//! The live stream: server-sent events of `GET /v1/watch`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Event, Operation};

/// One server-sent event: its `event:` field is the kind, its `data:` this value.
/// A client that falls behind gets `lagged` and reads again what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Watch {
    /// An event was recorded.
    Event(Event),
    /// An operation changed its state or made progress.
    Operation(Box<Operation>),
    /// New samples of a host.
    HostSample(LiveSample),
    /// New samples of a guest.
    GuestSample(LiveSample),
    /// Messages were dropped because the client is slow.
    Lagged(Lagged),
}

/// Newest values of one host or guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveSample {
    /// Name.
    pub name: String,
    /// Values by metric name.
    pub values: std::collections::BTreeMap<String, f64>,
}

/// How much was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lagged {
    /// Messages.
    pub dropped: u64,
}
