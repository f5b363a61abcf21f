//! A guest: one virtual machine.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Bytes, GuestId, HostId, Mib, Name, Vcpus};

/// What libvirt says of a guest, reduced to what decisions need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestState {
    /// vCPUs run.
    Running,
    /// Paused by a user.
    Paused,
    /// Paused by libvirt: it is the target of a migration and has not been resumed,
    /// or its state has been sent away and awaits confirmation.
    PausedForMigration,
    /// Its memory is on two hosts: it runs on the other one, and this one sends the rest.
    PostCopy,
    /// The same, and the transfer broke: neither copy may be destroyed.
    PostCopyFailed,
    /// Paused because of a disk error, or for another cause of its own.
    PausedByFault,
    /// Not running; defined.
    ShutOff,
    /// Not running; defined. The hypervisor itself ended it here because its state had
    /// been sent to another host.
    Departed,
    /// In the course of shutting down.
    ShuttingDown,
    /// It crashed and libvirt kept it.
    Crashed,
}

impl GuestState {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::PausedForMigration => "paused-for-migration",
            Self::PostCopy => "post-copy",
            Self::PostCopyFailed => "post-copy-failed",
            Self::PausedByFault => "paused-by-fault",
            Self::ShutOff => "shut-off",
            Self::Departed => "departed",
            Self::ShuttingDown => "shutting-down",
            Self::Crashed => "crashed",
        }
    }

    /// Whether a QEMU process exists for it.
    pub const fn is_active(self) -> bool {
        !matches!(self, Self::ShutOff | Self::Departed)
    }
}

/// Where a disk's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum DiskSource {
    /// A file on the host.
    File {
        /// Absolute path.
        path: String,
    },
    /// A block device on the host.
    Block {
        /// Absolute path.
        path: String,
    },
    /// A network disk that QEMU opens by itself: iscsi, rbd, nbd, …
    Network {
        /// libvirt's protocol name.
        protocol: String,
        /// Name of the volume at the server.
        name: String,
    },
    /// A volume of a libvirt pool.
    Volume {
        /// Pool name.
        pool: String,
        /// Volume name.
        volume: String,
    },
    /// No medium.
    Empty,
}

/// One disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Name in the guest, e.g. `vda`.
    pub target: String,
    /// Where its bytes are.
    pub source: DiskSource,
    /// Nothing is ever written to it.
    pub readonly: bool,
    /// Several guests may write to it at once; then no image lock protects it.
    pub shareable: bool,
    /// libvirt's cache mode, if set.
    pub cache: Option<String>,
    /// Image format that libvirt is told, e.g. `raw` or `qcow2`.
    #[serde(default)]
    pub format: Option<String>,
    /// Size that the guest sees, of images in files: the host's agent reads it.
    #[serde(default)]
    pub capacity: Option<Bytes>,
    /// Space that the file takes on its host, rounded up: it grows while the guest writes.
    #[serde(default)]
    pub allocation: Option<Bytes>,
    /// The image that this one is a layer on.
    #[serde(default)]
    pub backing: Option<BackingImage>,
}

/// The image that another is a layer on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackingImage {
    /// Absolute path on the host; or what the layer says, where that is no plain file.
    pub path: String,
    /// Its format, where the layer names it.
    pub format: Option<String>,
}

impl Disk {
    /// A disk of which no more is known than where its bytes are.
    pub fn new(target: &str, source: DiskSource) -> Self {
        Self {
            target: target.to_owned(),
            source,
            readonly: false,
            shareable: false,
            cache: None,
            format: None,
            capacity: None,
            allocation: None,
            backing: None,
        }
    }
}

/// A lease that a guest's definition names: one host at a time can hold it, if libvirt
/// there has a lock manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The lockspace that the hosts have joined; empty for the lock manager's own.
    pub lockspace: String,
    /// The lease within it.
    pub key: String,
}

/// What a network card is attached to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum NicSource {
    /// A host bridge.
    Bridge {
        /// Its name.
        name: String,
    },
    /// A libvirt network.
    Network {
        /// Its name.
        name: String,
    },
    /// Something else, by libvirt's type name.
    Other {
        /// libvirt's type name.
        name: String,
    },
}

/// One network card of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// MAC address.
    pub mac: String,
    /// What it is attached to.
    pub source: NicSource,
    /// Its interface on the host while the guest is active, e.g. `vnet3`.
    #[serde(default)]
    pub tap: Option<String>,
    /// The addresses that it was heard to claim, in order; a silent guest's are not known.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// The QEMU that runs a guest. It is the one with which the guest was started or to which it
/// was moved, whatever has been installed on its host since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum RunningQemu {
    /// It tells its version.
    Known {
        /// The version, e.g. `7.2.22`.
        version: String,
    },
    /// It tells none, and its file was replaced or removed since it was started: it is not
    /// the version that is installed now.
    Replaced,
}

/// A guest as an agent sees it on its host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Domain UUID.
    pub id: GuestId,
    /// Domain name.
    pub name: Name,
    /// The host that reported it.
    pub host: HostId,
    /// What it does now.
    pub state: GuestState,
    /// vCPUs online.
    pub vcpus: Vcpus,
    /// Memory it may grow to without hotplug (`<memory>`).
    pub memory: Mib,
    /// Memory the balloon leaves it now (`<currentMemory>`).
    pub current_memory: Mib,
    /// libvirt domain type: `kvm` or `qemu`.
    pub virt_type: String,
    /// The QEMU that runs it; none where it is not active, where its process cannot be
    /// looked at, and from an agent that does not tell.
    #[serde(default)]
    pub qemu: Option<RunningQemu>,
    /// Architecture.
    pub arch: String,
    /// Machine type, e.g. `pc-q35-7.2`.
    pub machine: String,
    /// CPU mode: `custom`, `host-model`, `host-passthrough`, `maximum`.
    pub cpu_mode: String,
    /// CPU model for mode `custom`.
    pub cpu_model: Option<String>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Leases that libvirt takes before the guest's code may run.
    #[serde(default)]
    pub leases: Vec<Lease>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Passthrough devices: they block migration.
    pub host_devices: u32,
    /// Whether the definition is kept when it stops.
    pub persistent: bool,
}

impl Guest {
    /// The memory a host must find for it: what it may grow to.
    pub const fn memory_demand(&self) -> Bytes {
        self.memory.bytes()
    }

    /// Whether QEMU emulates its processors, in libvirt's words: its domain type is another
    /// than `kvm`. Not of one whose domain type is not told.
    pub fn is_emulated(&self) -> bool {
        !matches!(self.virt_type.as_str(), "" | "kvm")
    }
}
