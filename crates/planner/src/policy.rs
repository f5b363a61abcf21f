//! What is wanted of a plan, and how much it may take.

use drover_model::{GuestId, HostId};
use drover_rules::{Condition, PlacementPolicy};
use serde::{Deserialize, Serialize};

/// What the plan is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Goal {
    /// Bring hosts back to the good side of a condition, the worst first, with the fewest
    /// and cheapest moves.
    Relieve {
        /// The condition that holds.
        condition: Condition,
        /// The hosts to relieve.
        hosts: Vec<HostId>,
    },
    /// Move one guest because someone asked for it.
    Place {
        /// The guest.
        guest: GuestId,
        /// The host that was asked for; none for the least loaded feasible one.
        to: Option<HostId>,
    },
}

/// Goal and constraints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// What the plan is for.
    pub goal: Goal,
    /// What every placement must keep.
    pub placement: PlacementPolicy,
}

/// How much a plan may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Most moves in all.
    pub max_moves: usize,
    /// Most moves of one batch that leave the same host: they share its link.
    pub max_out_per_host: usize,
    /// Most moves of one batch that enter the same host.
    pub max_in_per_host: usize,
    /// Most moves of one batch in all.
    pub max_per_batch: usize,
}

impl Default for Budget {
    /// 4 moves; 2 out and 2 in per host and 4 at once, as oVirt and KubeVirt limit them.
    fn default() -> Self {
        Self { max_moves: 4, max_out_per_host: 2, max_in_per_host: 2, max_per_batch: 4 }
    }
}
