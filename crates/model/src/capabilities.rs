//! What a host can do, as its agent reports it.

use serde::{Deserialize, Serialize};

use crate::{Bytes, Cores, MacAddress, Metric, PowerSource};

/// The host's processor as libvirt sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuDescription {
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// libvirt's CPU model name, e.g. `Broadwell-noTSX-IBRS`.
    pub model: String,
    /// Vendor, e.g. `Intel`.
    pub vendor: String,
    /// Features beyond the model.
    pub features: Vec<String>,
    /// Microcode revision, if the kernel tells.
    pub microcode: Option<String>,
}

/// A libvirt storage pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PoolDescription {
    /// Its name on this host.
    pub name: String,
    /// libvirt's type: `dir`, `iscsi`, `netfs`, …
    pub kind: String,
    /// Target path, if it has one.
    pub path: Option<String>,
    /// Whether it is started.
    pub active: bool,
}

/// A network that guests can be attached to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkDescription {
    /// libvirt network name or bridge name.
    pub name: String,
    /// `network` for a libvirt network, `bridge` for a host bridge.
    pub kind: String,
    /// Whether it is up.
    pub active: bool,
}

/// An interface with IPv4 addresses and a card that it stands on, by which a host can be woken
/// or can wake others. A bond has one entry for each of its cards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNic {
    /// Name on the host of the interface with the addresses: the card itself, or a VLAN, bond
    /// or bridge above it.
    pub name: String,
    /// The card's own address: what a magic packet for this host names.
    pub mac: MacAddress,
    /// IPv4 addresses with prefix length, e.g. `10.0.0.5/24`.
    pub addresses: Vec<String>,
    /// Whether the driver says that a magic packet wakes the host; none where it is not told.
    pub wakes: Option<bool>,
}

/// What a host can do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HostCapabilities {
    /// Processor.
    pub cpu: CpuDescription,
    /// Cores that guests may use; what 100 % of `cpu.usage_active` means.
    pub cores: Cores,
    /// Installed memory (or the budget given to the host).
    pub memory: Bytes,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// QEMU version, e.g. `7.2.22`.
    pub qemu: String,
    /// libvirt version, e.g. `9.0.0`.
    pub libvirt: String,
    /// libvirt domain types that work here: `kvm`, `qemu`.
    pub virt_types: Vec<String>,
    /// Machine types that QEMU offers, e.g. `pc-q35-7.2`.
    pub machine_types: Vec<String>,
    /// Storage pools.
    pub pools: Vec<PoolDescription>,
    /// libvirt networks and bridges.
    pub networks: Vec<NetworkDescription>,
    /// Directories that the operator declared to be the same on all hosts.
    pub shared_paths: Vec<String>,
    /// QEMU has certificates to send and receive guests encrypted.
    #[serde(default)]
    pub migration_tls: bool,
    /// libvirt's lock manager for guests: `lockd` or `sanlock`. Without one libvirt ignores
    /// the leases that a guest names.
    #[serde(default)]
    pub lock_manager: Option<String>,
    /// Network cards with IPv4 addresses.
    #[serde(default)]
    pub nics: Vec<HostNic>,
    /// Who measures its power on the host itself, the one in use first.
    #[serde(default)]
    pub power_sources: Vec<PowerSource>,
}

impl HostCapabilities {
    /// Whether the host's values of this metric are estimates and no measurements.
    pub fn is_estimate(&self, metric: Metric) -> bool {
        metric == Metric::PowerWatts && self.power_sources.first() == Some(&PowerSource::Model)
    }
}
