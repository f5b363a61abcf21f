//! How one guest may be moved.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What `PUT /v1/guests/{guest}/policy` takes: what is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetGuestPolicy {
    /// Longest pause of a live move, milliseconds, 1 to 2,000,000.
    pub max_downtime_ms: Option<u64>,
    /// Whether it is slowed down where it writes faster than it is sent.
    pub auto_converge: Option<bool>,
    /// Whether it may run on the target before all of its memory is there, where nothing else
    /// ends the transfer.
    pub post_copy: Option<bool>,
    /// Guests of a higher priority are moved first, -1000 to 1000.
    pub priority: Option<i32>,
    /// Whether a probe measures the blackout of its moves.
    pub probe: Option<bool>,
}

/// How one guest may be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestPolicy {
    /// Guest name.
    pub guest: String,
    /// Longest pause of a live move, milliseconds. A move begins with 300 at most, and gets more
    /// only where it does not end otherwise.
    pub max_downtime_ms: u64,
    /// Whether somebody set that pause: requests for a longer one are refused then.
    pub max_downtime_is_limit: bool,
    /// Whether it is slowed down where it writes faster than it is sent; none leaves it to each
    /// request.
    pub auto_converge: Option<bool>,
    /// Whether it may be switched to post-copy; none leaves it to each request.
    pub post_copy: Option<bool>,
    /// Guests of a higher priority are moved first.
    pub priority: i32,
    /// Whether a probe measures the blackout of its moves.
    pub probe: bool,
}
