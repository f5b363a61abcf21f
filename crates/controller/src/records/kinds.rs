//! The records that are the controller's own; hosts, guests, owners and rules come from
//! below and are wrapped where the controller adds to them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use drover_api::v1::Role;
use drover_lifecycle::forecast::Forecast;
use drover_lifecycle::{FailureKind, Migration, MigrationState};
use drover_model::{
    BaselineId, CpuFingerprint, CpuPlatform, Guest, GuestId, Host, HostId, Metric,
    MigrationSettings, Name, NamedCpu, OperationId, PlanId, RuleId, Timestamp, TokenId,
};
use drover_planner::{Level, Plan, PlanReport};
use drover_rules::{HostFiring, PlacementRule};
use serde::{Deserialize, Serialize};

/// A host and what Drover did to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The host.
    pub host: Host,
    /// When a move of ours last ended on it: samples before do not tell its load any more.
    pub disturbed: Option<Timestamp>,
}

/// A guest as its owner's host reported it last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestRecord {
    /// The guest; `host` is the owner's.
    pub guest: Guest,
    /// When it last arrived by a move of ours.
    pub last_moved: Option<Timestamp>,
    /// Its host is up and does not have it. Kept so that its epoch is never used again.
    pub absent: bool,
}

/// How a guest is started anew, as its host told it last: for when the host is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionRecord {
    /// The guest.
    pub guest: GuestId,
    /// Domain XML, secrets included.
    pub xml: String,
    /// When it was told.
    pub at: Timestamp,
}

/// Why something is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Cause {
    /// A rule fired.
    Rule {
        /// Which.
        id: RuleId,
        /// Its name then.
        name: Name,
    },
    /// A standing policy asked for it.
    Policy {
        /// Which.
        name: PolicyName,
    },
    /// Somebody asked.
    Request {
        /// Name of the token.
        who: Name,
    },
    /// A host is being emptied.
    Drain {
        /// Which.
        host: HostId,
        /// Its name then.
        name: Name,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { name, .. } => write!(f, "rule {name}"),
            Self::Policy { name } => write!(f, "policy {name}"),
            Self::Request { who } => write!(f, "request of {who}"),
            Self::Drain { name, .. } => write!(f, "drain of {name}"),
        }
    }
}

/// How one guest may be moved; what is none is as for every guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestPolicyRecord {
    /// Whose.
    pub guest: GuestId,
    /// Longest pause, milliseconds.
    #[serde(default)]
    pub max_downtime_ms: Option<u64>,
    /// Whether it may be slowed down, and is.
    #[serde(default)]
    pub auto_converge: Option<bool>,
    /// Whether it may run on the target before all of its memory is there.
    #[serde(default)]
    pub post_copy: Option<bool>,
    /// Higher ones are moved first.
    #[serde(default)]
    pub priority: Option<i32>,
    /// Whether a probe measures its blackout.
    #[serde(default)]
    pub probe: Option<bool>,
}

/// One migration and its story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// The state machine.
    pub migration: Migration,
    /// Why.
    pub cause: Cause,
    /// The plan it belongs to.
    pub plan: PlanId,
    /// When it was created.
    pub created: Timestamp,
    /// States and when they were entered; the last is the present one.
    pub timeline: Vec<(String, Timestamp)>,
    /// What the source did to bring the transfer to its end, and why.
    #[serde(default)]
    pub notes: Vec<(Timestamp, String)>,
    /// What it was expected to take; none where nothing could be told.
    #[serde(default)]
    pub forecast: Option<Forecast>,
}

impl OperationRecord {
    /// When its state last changed.
    pub fn changed(&self) -> Timestamp {
        self.timeline.last().map_or(self.created, |(_, at)| *at)
    }

    /// Whether the check before it spoke against it: nothing was begun.
    pub fn is_refused(&self) -> bool {
        let state = &self.migration.state;
        let preflight = FailureKind::Preflight;
        matches!(state, MigrationState::Failed { cause, .. } if cause.kind == preflight)
    }

    /// When a state was first entered.
    pub fn entered(&self, state: &str) -> Option<Timestamp> {
        self.timeline.iter().find(|(name, _)| name == state).map(|(_, at)| *at)
    }
}

/// Where a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Only shown: a dry run.
    Proposed,
    /// Its moves are being carried out.
    Running,
    /// Carried out; later batches, if any, are planned anew from fresh measurements.
    Done,
    /// At least one of its moves failed.
    Failed,
}

impl PlanState {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A plan and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Id, in order of creation.
    pub id: PlanId,
    /// When it was made.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// Where it is.
    pub state: PlanState,
    /// The moves.
    pub plan: Plan,
    /// What was weighed.
    pub report: PlanReport,
    /// How its guests are moved.
    #[serde(default)]
    pub settings: MigrationSettings,
    /// Operations of the batches that have begun, in their order.
    pub operations: Vec<OperationId>,
    /// When and on what the outcome is to be measured; none once it is.
    pub measure: Option<Measure>,
}

/// What to look at after a plan is carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Not before.
    pub due: Timestamp,
    /// The metric.
    pub metric: Metric,
    /// Length of the window, ms.
    pub period_ms: u64,
    /// Expected value by host.
    pub expected: BTreeMap<HostId, f64>,
}

/// What a rule says of each host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FiringRecord {
    /// The rule.
    pub rule: RuleId,
    /// Hosts that are not simply clear.
    pub hosts: BTreeMap<HostId, HostFiring>,
}

/// A wish about where guests run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementRecord {
    /// Id.
    pub id: RuleId,
    /// The wish.
    pub rule: PlacementRule,
    /// When it was made.
    pub created: Timestamp,
}

/// What an operator says of a host: its failure domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsRecord {
    /// The host.
    pub host: HostId,
    /// Value by label.
    pub labels: BTreeMap<String, String>,
}

/// The standing policies there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyName {
    /// Even out the load.
    Balance,
    /// Keep groups of hosts below their caps.
    PowerCap,
    /// Park and wake hosts.
    Power,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balance => f.write_str("balance"),
            Self::PowerCap => f.write_str("power-cap"),
            Self::Power => f.write_str("power"),
        }
    }
}

impl FromStr for PolicyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "balance" => Ok(Self::Balance),
            "power-cap" => Ok(Self::PowerCap),
            "power" => Ok(Self::Power),
            other => Err(format!("there is no policy `{other}`")),
        }
    }
}

/// Load is kept even as long as this is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceRecord {
    /// How eager.
    pub level: Level,
    /// How often, and over which window.
    pub interval: Duration,
    /// Nothing for so long after the last move.
    pub hold: Duration,
    /// Most moves of one plan.
    pub max_moves: u32,
    /// Most moves of one guest in an hour.
    pub moves_per_guest_per_hour: u32,
    /// Most moves of an hour, whoever made them.
    pub moves_per_hour: u32,
    /// A move must earn back its cost within so long.
    pub horizon: Duration,
    /// When it was set.
    pub set: Timestamp,
}

/// The CPU that fits every host of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineRecord {
    /// Id.
    pub id: BaselineId,
    /// `all`, or a label and its value: `rack=r1`.
    pub group: Name,
    /// Counts the outcomes: the same outcome again is the same generation.
    pub generation: u32,
    /// What it is for.
    pub platform: CpuPlatform,
    /// The CPU.
    pub cpu: NamedCpu,
    /// The hosts it was computed from, as they were.
    pub hosts: BTreeMap<HostId, CpuFingerprint>,
    /// When it was last computed.
    pub computed: Timestamp,
}

/// An API token; its secret is kept as a hash only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Id: part of the token.
    pub id: TokenId,
    /// Who uses it.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the secret, hex.
    pub sha256: String,
    /// When it was made.
    pub created: Timestamp,
}

/// A join token; its secret is kept as a hash only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRecord {
    /// Id: part of the token.
    pub id: TokenId,
    /// SHA-256 of the secret, hex.
    pub sha256: String,
    /// Good until.
    pub expires: Timestamp,
}

/// The certificate that an agent must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// The host.
    pub host: HostId,
    /// The name it joined with.
    pub name: Name,
    /// SHA-256 of the certificate, hex.
    pub sha256: String,
}
