//! CPU baselines: one CPU that every host of a group has.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A CPU that fits every host of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Baseline {
    /// `all`, or a label and its value: `rack=r1`.
    pub group: String,
    /// Counts the times that it was computed with another outcome.
    pub generation: u32,
    /// When it was last computed.
    pub computed: Time,
    /// libvirt's domain type that it is for.
    pub virt_type: String,
    /// CPU model.
    pub model: String,
    /// Features that guests get.
    pub features: Vec<String>,
    /// The `<cpu>` element for new guests.
    pub xml: String,
    /// The hosts of the group.
    pub hosts: Vec<BaselineHost>,
    /// A host has changed, joined or left since: compute it anew.
    pub outdated: bool,
}

/// A host of a baseline's group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BaselineHost {
    /// Name of the host.
    pub host: String,
    /// What changed since the baseline was computed, each with before and after; empty for
    /// nothing.
    pub changed: Vec<String>,
    /// Its agent answered; otherwise nothing is known of changes.
    pub answered: bool,
}

/// What `PUT /v1/baselines/{group}` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeBaseline {
    /// `kvm` or `qemu`; none is `kvm` where every host has it.
    pub virt_type: Option<String>,
    /// Machine type; none is libvirt's default.
    pub machine: Option<String>,
}

/// What `POST /v1/baselines/{group}/apply` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyBaseline {
    /// Names or ids of guests.
    pub guests: Vec<String>,
}

/// What became of one guest's definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedCpu {
    /// Name of the guest.
    pub guest: String,
    /// `at-start`, `at-next-start` (it runs and goes on as it is), or `failed`.
    pub counts: String,
    /// Why it failed.
    pub why: Option<String>,
}

/// What `GET /v1/baselines/{group}/trapped` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrappedQuery {
    /// As if this host had left the group.
    pub without: Option<String>,
    /// As if every host gave the CPUs that this one, upgraded first, gives now.
    pub after_upgrade: Option<String>,
}

/// A guest that no other host can take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrappedGuest {
    /// Name of the guest.
    pub guest: String,
    /// Where it is.
    pub host: String,
    /// Why each host cannot take it.
    pub why: Vec<String>,
}
