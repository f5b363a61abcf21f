//! Plans on request: what would be done, what if, and why not.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RefusedMove;

/// What a plan is to be for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "for", deny_unknown_fields)]
pub enum PreviewGoal {
    /// Even out the load.
    Balance {
        /// 1 (broken placement rules only) to 5 (every move that improves it).
        level: u8,
    },
    /// Empty hosts.
    Drain {
        /// Host names.
        hosts: Vec<String>,
    },
    /// Restore broken placement rules.
    Repair,
    /// Empty the hosts that the others can do without.
    Consolidate {
        /// Hosts that stay in use, whatever the load. Default 1.
        #[serde(default = "default_spare")]
        spare: u32,
    },
    /// Make room for a guest that grows.
    Resize {
        /// Guest name.
        guest: String,
        /// Virtual CPUs that it shall have.
        vcpus: u32,
        /// Memory that it shall have, MiB.
        memory_mib: u64,
    },
    /// Move one guest.
    Place {
        /// Guest name.
        guest: String,
        /// Host name; none for the least loaded feasible one.
        #[serde(default)]
        to: Option<String>,
    },
}

const fn default_spare() -> u32 {
    1
}

/// What `POST /v1/plans/preview` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// What the plan is to be for.
    pub goal: PreviewGoal,
    /// Most moves; not for a drain, which is planned whole. Default: no limit for
    /// consolidation, else 16.
    #[serde(default)]
    pub max_moves: Option<u32>,
    /// What if every CPU threshold were this, percent.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// What if these hosts were gone.
    #[serde(default)]
    pub without: Vec<String>,
    /// How long the search may be, 0 to 8; each step more doubles it. Default 4.
    #[serde(default)]
    pub effort: Option<u8>,
    /// Window over which loads are averaged. Default: six samples where loads are compared,
    /// two where it is only asked what is allowed.
    #[serde(default)]
    pub period: Option<String>,
}

/// What `POST /v1/plans/{plan}/apply` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApplyRequest {
    /// Only the first so many moves, the most useful ones.
    pub max_moves: Option<u32>,
}

/// What `POST /v1/plans/{plan}/why-not` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhyNotRequest {
    /// Guest name.
    pub guest: String,
    /// The host that it could have gone to.
    pub host: String,
}

/// Why a plan does not send a guest to a host, judged now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyNot {
    /// Guest name.
    pub guest: String,
    /// The host that was asked about.
    pub host: String,
    /// Whether nothing forbids it.
    pub allowed: bool,
    /// What forbids it.
    pub refused: Vec<RefusedMove>,
    /// How the host would be loaded.
    pub asked: Option<TargetLoad>,
    /// Where the plan leaves the guest, and how that host is loaded then.
    pub chosen: Option<TargetLoad>,
    /// All of it in one sentence.
    pub summary: String,
}

/// A host with the guest on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetLoad {
    /// Host name.
    pub host: String,
    /// `cpu.usage_active` with the guest there, percent.
    pub cpu_usage_percent: Option<f64>,
    /// `mem.available` with the guest there, bytes.
    pub memory_available_bytes: Option<u64>,
}
