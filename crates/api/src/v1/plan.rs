//! Plans and their reports.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A plan: batches of moves, each feasible at every moment in between.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Id.
    pub id: String,
    /// When it was made.
    pub at: Time,
    /// `rule NAME`, `policy NAME` or `request of TOKEN`.
    pub cause: String,
    /// `proposed` (dry run), `running`, `done`, `failed` or `nothing-to-do`.
    pub state: String,
    /// In order; the moves of one batch run at once.
    pub batches: Vec<Vec<PlannedMove>>,
    /// What was weighed.
    pub report: PlanReport,
}

/// One move with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlannedMove {
    /// Guest name.
    pub guest: String,
    /// Host name.
    pub from: String,
    /// Host name.
    pub to: String,
    /// Memory to move, MiB.
    pub memory_mib: u64,
    /// Why this guest.
    pub why_guest: String,
    /// Why this host.
    pub why_host: String,
    /// Expected values of the planned metric.
    pub expected: ExpectedValues,
    /// The operation that does it, once it has begun.
    pub operation: Option<String>,
    /// How much worse the score were without this move; none where it cannot be left out or
    /// nothing was scored.
    #[serde(default)]
    pub gain: Option<f64>,
    /// Forecast of its duration, seconds.
    #[serde(default)]
    pub seconds: f64,
}

/// The planned metric on both hosts, before and after a move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExpectedValues {
    /// Metric name.
    pub metric: String,
    /// Source before.
    pub from_before: f64,
    /// Source after.
    pub from_after: f64,
    /// Target before.
    pub to_before: f64,
    /// Target after.
    pub to_after: f64,
}

/// What was weighed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct PlanReport {
    /// One sentence.
    pub summary: String,
    /// Hosts that the plan was to relieve, with what becomes of them.
    pub hosts: Vec<HostOutlook>,
    /// Guest and host pairs that were refused, with the reason and its numbers.
    pub refused: Vec<RefusedMove>,
    /// Hosts left out because their samples are missing or stale.
    pub unknown: Vec<String>,
    /// Imbalance, overload and broken preferences before and after; 0 is perfect.
    #[serde(default)]
    pub score: Option<Score>,
    /// What can be had with fewer moves, the most useful ones first.
    #[serde(default)]
    pub front: Vec<FrontPoint>,
    /// Names of guests that should have been placed and could not be.
    #[serde(default)]
    pub unplaced: Vec<String>,
    /// Placement rules that do not hold before the plan, and why.
    #[serde(default)]
    pub broken_before: Vec<String>,
    /// Those that do not hold after it.
    #[serde(default)]
    pub broken_after: Vec<String>,
}

/// How good a placement is: lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Score {
    /// As it is.
    pub before: f64,
    /// With the plan.
    pub after: f64,
}

/// What the first moves of a plan achieve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FrontPoint {
    /// Number of moves.
    pub moves: usize,
    /// The score then.
    pub score: f64,
    /// Bytes that they send.
    pub bytes: u64,
}

/// A host's outlook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostOutlook {
    /// Host name.
    pub host: String,
    /// Value of the planned metric before.
    pub before: f64,
    /// Expected after the plan.
    pub after: f64,
    /// Whether it is back on the good side.
    pub relieved: bool,
    /// If not, why not.
    pub reason: Option<String>,
    /// The value before is an estimate: nobody measures this host's power.
    #[serde(default)]
    pub estimate: bool,
}

/// A pair that was refused. `host` is none when the guest could not move at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedMove {
    /// Guest name.
    pub guest: String,
    /// Host name.
    pub host: Option<String>,
    /// Name of the constraint, e.g. `memory`.
    pub constraint: String,
    /// The reason with its numbers.
    pub reason: String,
}
