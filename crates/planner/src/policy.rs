//! What is wanted of a plan, and how much it may take.

use drover_model::{Guest, GuestId, HostId, Metric, MigrationLimits};
use drover_rules::constraint::PowerCap;
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
    /// Bring a group of hosts below a number of watts: guests go to hosts outside of it.
    Shed {
        /// The hosts, and the watts that they may draw.
        group: PowerCap,
    },
    /// Move one guest because someone asked for it.
    Place {
        /// The guest.
        guest: GuestId,
        /// The host that was asked for; none for the least loaded feasible one.
        to: Option<HostId>,
    },
    /// Move some guests because someone asked for it, each away from where it is.
    Several {
        /// The guests.
        guests: Vec<GuestId>,
        /// The host that was asked for; none for the least loaded feasible ones.
        to: Option<HostId>,
    },
    /// Even out the load of all hosts where that pays.
    Balance {
        /// How eager.
        level: Level,
    },
    /// Empty hosts for maintenance or for parking.
    Drain {
        /// The hosts.
        hosts: Vec<HostId>,
    },
    /// Find new hosts for the guests of hosts that died.
    Restart {
        /// The hosts.
        hosts: Vec<HostId>,
    },
    /// Empty the hosts that the others can do without, dearest power first.
    Consolidate {
        /// Hosts that stay in use, whatever the load.
        spare: usize,
    },
    /// Find a host for a guest that runs nowhere yet: its `host` is the nil id.
    Admit {
        /// The guest.
        guest: Box<Guest>,
    },
    /// Move as few guests as restore every constraint that is broken.
    Repair,
    /// Make room for a guest that grows: on its host, else elsewhere.
    Resize {
        /// The guest.
        guest: GuestId,
        /// Virtual CPUs that it shall have.
        vcpus: u32,
        /// Memory that it shall have, MiB.
        memory_mib: u64,
    },
}

/// How eager a balance is. The names and their order are those that users of VMware DRS
/// know (migration threshold, conservative to aggressive).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Only broken constraints are repaired.
    Conservative,
    /// Only moves that improve the balance a lot.
    Cautious,
    /// Moves that improve the balance clearly.
    Moderate,
    /// Moves that improve it somewhat.
    Eager,
    /// Every move that improves it at all.
    Aggressive,
}

impl Level {
    /// All, the calmest first.
    pub const ALL: [Self; 5] =
        [Self::Conservative, Self::Cautious, Self::Moderate, Self::Eager, Self::Aggressive];

    /// The level of a number from 1 to 5.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// What it costs to move every guest once; a move must gain its part of that. None:
    /// nothing is moved for balance.
    pub(crate) const fn price(self) -> Option<f64> {
        match self {
            Self::Conservative => None,
            Self::Cautious => Some(0.6),
            Self::Moderate => Some(0.2),
            Self::Eager => Some(0.06),
            Self::Aggressive => Some(0.01),
        }
    }
}

/// Whose word counts for what a guest needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What was measured over the window of the view.
    #[default]
    Measured,
    /// What it is configured with.
    Configured,
}

/// One more resource to keep even and within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// What a guest uses of it.
    pub guest_metric: Metric,
    /// What a host uses of it.
    pub host_metric: Metric,
    /// What every host has, in the metrics' unit.
    pub capacity: f64,
}

/// What counts, and how much. The unit is one: the standard deviation of a load (as a part
/// of the host) over all hosts; 1 is one half of the hosts full and the other empty, twice
/// over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Of each full host's worth of load above the comfortable part.
    pub overload: f64,
    /// CPU load that is comfortable, as a part of a host.
    pub comfortable_cpu: f64,
    /// Memory use that is comfortable, as a part of a host.
    pub comfortable_memory: f64,
    /// Of the deviation of CPU load.
    pub cpu: f64,
    /// Of the deviation of memory use.
    pub memory: f64,
    /// Of the deviation of each further resource.
    pub other: f64,
    /// Of sending all guests' memory once.
    pub bytes: f64,
}

impl Default for Weights {
    /// Overload counts ten times, load and memory once each; sending all memory once costs
    /// a fifth. The last was found on clusters of 20 to 1,000 hosts: it is where moves
    /// begin to cost more bytes than balance (docs/benchmarks.md).
    fn default() -> Self {
        Self {
            overload: 10.0,
            comfortable_cpu: 0.8,
            comfortable_memory: 0.9,
            cpu: 1.0,
            memory: 1.0,
            other: 1.0,
            bytes: 0.2,
        }
    }
}

/// Goal, constraints and what counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// What the plan is for.
    pub goal: Goal,
    /// What every placement must keep.
    pub placement: PlacementPolicy,
    /// Whose word counts.
    #[serde(default)]
    pub basis: Basis,
    /// Virtual CPUs that share a core where configured sizes count.
    pub vcpus_per_core: f64,
    /// Further resources.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// What counts.
    #[serde(default)]
    pub weights: Weights,
    /// What one migration sends in a second, bytes.
    pub link: f64,
    /// Seconds within which a move must earn back its cost. The prices of moves are those of
    /// an hour; half of it doubles them.
    pub horizon: f64,
}

impl Policy {
    /// Measured demand, default weights, one Gbit/s.
    pub fn new(goal: Goal, placement: PlacementPolicy) -> Self {
        Self {
            goal,
            placement,
            basis: Basis::Measured,
            vcpus_per_core: 4.0,
            resources: Vec::new(),
            weights: Weights::default(),
            link: 117e6,
            horizon: 3600.0,
        }
    }

    /// The same for another goal.
    #[must_use]
    pub fn with_goal(&self, goal: Goal) -> Self {
        Self { goal, ..self.clone() }
    }
}

/// How much a plan may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Most moves in all.
    pub max_moves: usize,
    /// Most moves of one batch that leave the same host: they share its link.
    pub max_out_per_host: usize,
    /// Most moves of one batch that enter the same host.
    pub max_in_per_host: usize,
    /// Most moves of one batch in all.
    pub max_per_batch: usize,
    /// How long the search may be: each step more doubles it and includes the shorter
    /// ones, so more is never worse. 0 to 12.
    pub effort: u8,
    /// Cores to search on.
    pub cores: usize,
}

impl Budget {
    /// Batches within the limits that hold for migrations in a cluster of so many hosts: each
    /// batch can begin as a whole.
    pub fn within(limits: &MigrationLimits, hosts: usize) -> Self {
        let count = |number: u32| number as usize;
        Self {
            max_out_per_host: count(limits.out_per_host),
            max_in_per_host: count(limits.in_per_host),
            max_per_batch: count(limits.in_cluster(hosts)),
            ..Self::default()
        }
    }

    /// Every move that is wanted, in as few batches as there can be: one begins after another
    /// only where it needs the room that the other leaves. For moves that wait in a queue,
    /// which knows the limits and lets each begin as soon as there is room.
    #[must_use]
    pub fn for_a_queue(self) -> Self {
        let (max_out_per_host, max_in_per_host) = (usize::MAX, usize::MAX);
        let (max_moves, max_per_batch) = (usize::MAX, usize::MAX);
        Self { max_moves, max_out_per_host, max_in_per_host, max_per_batch, ..self }
    }
}

impl Default for Budget {
    /// 4 moves; 2 out and 2 in per host and 4 at once, as oVirt and KubeVirt limit them.
    fn default() -> Self {
        Self {
            max_moves: 4,
            max_out_per_host: 2,
            max_in_per_host: 2,
            max_per_batch: 4,
            effort: 4,
            cores: 1,
        }
    }
}
