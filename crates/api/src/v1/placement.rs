//! Placement rules and host labels: what users wish about where guests run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What is wished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementKind {
    /// At most `most` of the guests in one place.
    Apart,
    /// All of the guests in one place.
    Together,
    /// The guests in at least `least` places.
    Spread,
    /// The guests on these hosts only.
    On,
    /// The guests not on these hosts.
    NotOn,
}

/// What `POST /v1/placement-rules` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePlacementRule {
    /// Unique name: letters, digits, `-`, `_`, `.`; at most 63.
    pub name: String,
    /// What is wished.
    pub kind: PlacementKind,
    /// Names of the guests; at least two for `apart`, `together` and `spread`.
    pub guests: Vec<String>,
    /// Names of the hosts, for `on` and `not-on`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What a place is: `host` (default) or a label of hosts such as `rack`.
    #[serde(default)]
    pub scope: Option<String>,
    /// For `apart`: most of the guests in one place. Default 1.
    #[serde(default)]
    pub most: Option<u16>,
    /// For `spread`: fewest places. Default 2.
    #[serde(default)]
    pub least: Option<u16>,
    /// Only prefer it: breaking it costs so much, 0.1 about what a level 3 balance moves a
    /// guest for. Without it no plan breaks it.
    #[serde(default)]
    pub prefer: Option<f64>,
}

/// A placement rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlacementRule {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// What is wished.
    pub kind: PlacementKind,
    /// Guests that exist.
    pub guests: Vec<String>,
    /// Hosts that exist, for `on` and `not-on`.
    pub hosts: Vec<String>,
    /// What a place is, for `apart`, `together` and `spread`: `host` or a label.
    pub scope: Option<String>,
    /// As it was asked for, for `apart`.
    pub most: Option<u16>,
    /// As it was asked for, for `spread`.
    pub least: Option<u16>,
    /// What breaking it costs; none where no plan may break it.
    pub prefer: Option<f64>,
    /// Whether it holds now.
    pub holds: bool,
    /// Why it does not hold, or why there is nothing to hold.
    pub why: Option<String>,
    /// When it was created.
    pub created: Time,
}

/// What `PATCH /v1/hosts/{host}/labels` takes: what is named changes, the rest stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateLabels {
    /// Value by label; null takes the label away.
    pub labels: BTreeMap<String, Option<String>>,
}

/// The labels of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct HostLabels {
    /// Host name.
    pub host: String,
    /// Value by label.
    pub labels: BTreeMap<String, String>,
}
