//! A plan, and what was weighed to make it.

use drover_model::{GuestId, HostId, Metric};
use drover_rules::Move;
use drover_rules::constraint::Constraint;
use serde::{Deserialize, Serialize};

/// One move with its reasons and forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// Which guest goes where.
    pub step: Move,
    /// Memory to move, bytes: what the guest has resident.
    pub bytes: u64,
    /// Why this guest.
    pub why_guest: String,
    /// Why this host.
    pub why_host: String,
    /// The metric that was planned on.
    pub metric: Metric,
    /// Source before and after.
    pub from: (f64, f64),
    /// Target before and after.
    pub to: (f64, f64),
    /// How much worse the objective were without this move; none where it cannot be left
    /// out, as others need it, or where nothing was scored.
    #[serde(default)]
    pub gain: Option<f64>,
    /// Forecast of its duration, seconds: its bytes over the link.
    #[serde(default)]
    pub seconds: f64,
}

/// Ordered batches; the moves of one batch run at once.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// In order.
    pub batches: Vec<Vec<PlannedMove>>,
}

impl Plan {
    /// Every move in order.
    pub fn moves(&self) -> impl Iterator<Item = &PlannedMove> {
        self.batches.iter().flatten()
    }

    /// Whether it moves nothing.
    pub fn is_empty(&self) -> bool {
        self.batches.iter().all(Vec::is_empty)
    }

    /// The bare moves by batch, as `drover_rules::audit` takes them.
    pub fn steps(&self) -> Vec<Vec<Move>> {
        self.batches.iter().map(|batch| batch.iter().map(|step| step.step).collect()).collect()
    }
}

/// What was weighed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PlanReport {
    /// One sentence.
    pub summary: String,
    /// Each host that was to be relieved.
    pub hosts: Vec<HostOutlook>,
    /// Each guest, or guest and host, that was refused.
    pub refused: Vec<RefusedMove>,
    /// Hosts whose values are missing, with the reason.
    pub unknown: Vec<(HostId, String)>,
    /// The objective before and after, without the cost of the moves.
    #[serde(default)]
    pub score: Option<Score>,
    /// What can be had with fewer moves: the best first.
    #[serde(default)]
    pub front: Vec<FrontPoint>,
    /// Guests that should have been placed and could not be.
    #[serde(default)]
    pub unplaced: Vec<GuestId>,
    /// Wishes that are broken before the plan, and after it.
    #[serde(default)]
    pub broken: (Vec<String>, Vec<String>),
    /// Guests that stay since no order of moves lets them go, though a place was found.
    #[serde(default)]
    pub stuck: Vec<GuestId>,
}

/// The objective of a plan: lower is better, 0 is perfect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// As it is.
    pub before: f64,
    /// With the plan.
    pub after: f64,
}

/// What the first moves of a plan achieve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrontPoint {
    /// Number of moves.
    pub moves: usize,
    /// Objective once they are made.
    pub score: f64,
    /// Bytes that they send.
    pub bytes: u64,
}

/// What becomes of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostOutlook {
    /// The host.
    pub host: HostId,
    /// The metric.
    pub metric: Metric,
    /// Measured.
    pub before: f64,
    /// Expected after the plan.
    pub after: f64,
    /// Why it is not back on the good side; none when it is.
    pub unrelieved: Option<String>,
    /// The measured value is itself an estimate: nobody measures this host's power.
    #[serde(default)]
    pub estimate: bool,
}

/// A refused guest or pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedMove {
    /// The guest.
    pub guest: GuestId,
    /// The target; none when the guest could not move at all.
    pub host: Option<HostId>,
    /// What speaks against it.
    pub constraint: Constraint,
    /// The reason with its numbers.
    pub reason: String,
}
