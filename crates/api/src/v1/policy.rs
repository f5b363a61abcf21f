//! Standing policies: what droverd does by itself, beside rules.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What `PUT /v1/policies/balance` takes. Durations are texts such as `5m`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBalance {
    /// 1 repairs broken placement rules only, 5 makes every move that improves the balance.
    pub level: u8,
    /// How often, and over which window loads are averaged; 10 s to 24 h.
    pub interval: String,
    /// Nothing for so long after the last move, whoever made it. Default `10m`.
    #[serde(default = "default_hold")]
    pub hold: String,
    /// Most moves of one plan. Default 4; 1 to 64.
    #[serde(default = "default_max_moves")]
    pub max_moves: u32,
    /// A guest is moved so often in an hour, at most. Default 1; 1 to 60.
    #[serde(default = "default_per_guest")]
    pub moves_per_guest_per_hour: u32,
    /// Most moves of an hour, those of rules and requests included. Default 20; 1 to 1000.
    #[serde(default = "default_per_hour")]
    pub moves_per_hour: u32,
    /// A move must earn back its cost within so long. Default `1h`; 1 min to 7 d.
    #[serde(default = "default_horizon")]
    pub horizon: String,
}

fn default_hold() -> String {
    "10m".to_owned()
}
fn default_horizon() -> String {
    "1h".to_owned()
}
const fn default_max_moves() -> u32 {
    4
}
const fn default_per_guest() -> u32 {
    1
}
const fn default_per_hour() -> u32 {
    20
}

/// The balance policy that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalancePolicy {
    /// What was asked for.
    #[serde(flatten)]
    pub spec: SetBalance,
    /// Moves of the last hour, whoever made them.
    pub moves_last_hour: u32,
    /// When it was set.
    pub set: Time,
}

/// All standing policies.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Policies {
    /// Even out the load; none where it is not wanted.
    pub balance: Option<BalancePolicy>,
    /// Groups of hosts that may draw no more than so much.
    #[serde(default)]
    pub power_caps: Vec<super::PowerCap>,
    /// Park and wake hosts; none where it is not wanted.
    #[serde(default)]
    pub power: Option<super::PowerPolicy>,
}
