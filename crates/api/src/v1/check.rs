//! What speaks against a move.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which hosts a guest is checked against, and how it would go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    /// Host name or id; none for every host but its own.
    pub to: Option<String>,
    /// `live`, `cold` or `rescue`. Without it live, or cold for a guest that is off, or a rescue
    /// where its host is unreachable.
    pub mode: Option<String>,
    /// Disks that only the source reaches are copied: `full` or `top_layer`.
    pub storage: Option<String>,
    /// Do not compare the processors.
    #[serde(default)]
    pub skip_cpu_check: bool,
    /// Do not compare the kernels.
    #[serde(default)]
    pub skip_kernel_check: bool,
}

/// A guest and the hosts that it could go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestCheck {
    /// Name of the guest.
    pub guest: String,
    /// Where it is.
    pub host: String,
    /// How it would go: `live`, `cold` or `rescue`.
    pub mode: String,
    /// The hosts.
    pub targets: Vec<TargetCheck>,
}

/// One host that a guest could go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetCheck {
    /// Name of the host.
    pub host: String,
    /// Nothing of what was found blocks.
    pub allowed: bool,
    /// Everything that was found, what blocks first.
    pub findings: Vec<Finding>,
}

/// Something that speaks against a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The check that found it.
    pub check: String,
    /// The move is refused for it; otherwise it is a warning.
    pub blocks: bool,
    /// What is the matter.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
}

/// What was found of a move that begins all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoveWarnings {
    /// Name of the guest.
    pub guest: String,
    /// Name of the host that it goes to.
    pub host: String,
    /// What was found.
    pub findings: Vec<Finding>,
}
