//! The power policy, and what its turns must remember.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drover_api::v1;
use drover_model::{HostId, Name, Timestamp};
use drover_planner::power::{PowerPolicy, State};
use serde::{Deserialize, Serialize};

/// Hosts are parked and woken as long as this is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerPolicyRecord {
    /// What is asked for; its offset from UTC is set anew at each turn.
    pub policy: PowerPolicy,
    /// Time zone of the schedule.
    pub zone: Name,
    /// Hosts that are left alone.
    pub exclude: BTreeSet<HostId>,
    /// Least time on.
    pub min_on: Duration,
    /// Least time off.
    pub min_off: Duration,
    /// Only say what would be done.
    pub suggest: bool,
    /// When it was set.
    pub set: Timestamp,
}

/// What the last turn of the power policy decided, and what the next must know. Written once
/// a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PowerTurnRecord {
    /// Of the decision itself.
    pub state: State,
    /// What was decided, as it is shown.
    pub told: v1::PowerDecision,
    /// Hosts whose parking was refused, when and why: not asked again at once.
    #[serde(default)]
    pub refused: BTreeMap<HostId, (Timestamp, String)>,
    /// Hosts that were woken to take over load, and when: guests are moved to them.
    #[serde(default)]
    pub awaited: BTreeMap<HostId, Timestamp>,
}
