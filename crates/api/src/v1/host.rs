//! Hosts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A host in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// libvirt's host UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `online`, `degraded` (agent there, libvirtd not), `connecting` (no agent, not yet for
    /// long) or `unreachable`; of a host that is switched off or on `parking`, `parked`, `waking`
    /// or `wake-failed`.
    pub state: String,
    /// When its agent was last heard.
    pub last_seen: Time,
    /// Cores that guests may use.
    pub cores: f64,
    /// Memory that guests may use, bytes.
    pub memory_bytes: u64,
    /// Newest `cpu.usage_active`, percent of all cores.
    pub cpu_usage_percent: Option<f64>,
    /// Newest `mem.available`, bytes.
    pub memory_available_bytes: Option<u64>,
    /// Age of the newest sample, seconds.
    pub sample_age_seconds: Option<f64>,
    /// Guests that belong to it and are active.
    pub guests_active: Option<u32>,
    /// Guests that belong to it.
    pub guests: u32,
    /// Version of its agent.
    pub agent_version: String,
    /// Value by label, e.g. `rack`.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// `active`, `draining` (guests leave it) or `drained` (none runs on it). Nothing is placed
    /// on a host that is not active.
    #[serde(default = "active")]
    pub maintenance: String,
}

fn active() -> String {
    "active".to_owned()
}

/// A host with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostDetail {
    /// As in the list.
    #[serde(flatten)]
    pub host: Host,
    /// Processor.
    pub cpu: HostCpu,
    /// Kernel release.
    pub kernel: String,
    /// QEMU version.
    pub qemu_version: String,
    /// libvirt version.
    pub libvirt_version: String,
    /// Domain types that work here: `kvm`, `qemu`.
    pub virt_types: Vec<String>,
    /// Machine types.
    pub machine_types: Vec<String>,
    /// Storage pools.
    pub pools: Vec<HostPool>,
    /// Networks and bridges.
    pub networks: Vec<HostNetwork>,
    /// Directories declared to be the same on all hosts.
    pub shared_paths: Vec<String>,
    /// Where other hosts' QEMU sends migration data.
    pub migration_address: String,
    /// How other hosts' libvirtd reaches this one's.
    pub peer_uri: String,
    /// Newest value of every metric, by metric name.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// Names of the guests that belong to it.
    pub guest_names: Vec<String>,
    /// How far it is, where it is to be empty.
    #[serde(default)]
    pub drain: Option<super::HostMaintenance>,
}

/// A host's processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostCpu {
    /// Architecture.
    pub arch: String,
    /// libvirt's model name.
    pub model: String,
    /// Vendor.
    pub vendor: String,
    /// Features beyond the model.
    pub features: Vec<String>,
    /// Microcode revision.
    pub microcode: Option<String>,
}

/// A storage pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostPool {
    /// Name.
    pub name: String,
    /// libvirt's type.
    pub kind: String,
    /// Target path.
    pub path: Option<String>,
    /// Started.
    pub active: bool,
}

/// A network or bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostNetwork {
    /// Name.
    pub name: String,
    /// `network` or `bridge`.
    pub kind: String,
    /// Up.
    pub active: bool,
}

/// How a host is removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RemoveHostQuery {
    /// Also when it has guests, as far as is known: they are forgotten with it.
    pub forget_guests: Option<bool>,
}
