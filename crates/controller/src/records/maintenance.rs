//! Hosts that are emptied, and how many migrations may be under way.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use drover_model::{GuestId, HostId, MigrationLimits, MigrationSettings, Name, Timestamp};
use drover_rules::Initiative;
use serde::{Deserialize, Serialize};

/// How far a host that is to be empty is. A host that is in use has no record at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaintenancePhase {
    /// Guests are leaving.
    Draining,
    /// No guest runs on it any more.
    Drained,
}

impl MaintenancePhase {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

/// A host that is to be empty. As long as this is there nothing is placed on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaintenanceRecord {
    /// The host.
    pub host: HostId,
    /// How far it is.
    pub phase: MaintenancePhase,
    /// Who asked for it.
    pub who: Name,
    /// Whether that was a person. What was stored by a version that did not tell counts as
    /// Drover's own: a person asks again.
    #[serde(default)]
    pub initiative: Initiative,
    /// Since when. What failed before does not count.
    pub begun: Timestamp,
    /// When its last guest left.
    pub drained: Option<Timestamp>,
    /// Guests go to hosts with these labels only; empty means to any.
    pub to_labels: BTreeMap<String, String>,
    /// How guests are moved.
    pub settings: MigrationSettings,
    /// Guests that were to leave at the start.
    pub guests: u32,
    /// Guests that do not get away, and why.
    pub hanging: Vec<Hanging>,
}

/// A guest that does not get away from its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hanging {
    /// The guest.
    pub guest: GuestId,
    /// Why.
    pub why: String,
    /// How often its move failed.
    pub failures: u32,
}

/// What limits there are: one set, of migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitsName {
    /// Migrations at once.
    Migrations,
}

impl fmt::Display for LimitsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Migrations => f.write_str("migrations"),
        }
    }
}

impl FromStr for LimitsName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "migrations" => Ok(Self::Migrations),
            other => Err(format!("there are no limits `{other}`")),
        }
    }
}

/// How many migrations may be under way at once, as somebody set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsRecord {
    /// The limits.
    pub limits: MigrationLimits,
}
