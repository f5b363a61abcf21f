//! The kinds of disk that a lab guest may have, and what guards them.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where a guest's disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum GuestDisk {
    /// A file in the directory that all hosts share.
    #[default]
    Shared,
    /// A LUN of the storage server, opened by QEMU's own initiator.
    Iscsi,
    /// A file in the host's own directory: it must be copied when the guest moves.
    Local,
}

/// Whether a guest's definition names a lease, which one host at a time can hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestLease {
    /// It names none.
    #[default]
    None,
    /// It names one of its own.
    Explicit,
}

/// The lock daemon of every host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Locks {
    /// None: only QEMU's own image locks.
    None,
    /// virtlockd, with its lockspace in the shared directory.
    #[default]
    Lockd,
    /// sanlock, with its lockspace in the shared directory and without a watchdog.
    Sanlock,
}

/// The storage server as a member.
pub(crate) const STORAGE: &str = "st";
/// Where the storage server sees its LUNs' files.
pub(crate) const LUNS: &str = "/srv/luns";
/// A host's own disks: libvirt's pool `default`.
pub(crate) const LOCAL: &str = "/var/lib/libvirt/images";
/// The lockspace within the shared directory.
pub(crate) const LOCKSPACE: &str = "locks";

/// What a guest of the lab has been given; kept in the lab's directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestStorage {
    /// Its disk.
    pub disk: GuestDisk,
    /// Its lease.
    pub lease: GuestLease,
}

/// Who opens an iSCSI LUN on a host of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// The kernel could: LUNs may be block devices of an iSCSI pool.
    Kernel,
    /// Only QEMU itself can.
    Qemu,
}

impl Initiator {
    /// What `up` says of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => {
                "storage server; the machine's kernel has an iSCSI initiator, which an iSCSI pool \
                 could use: the lab's guests use QEMU's own"
            }
            Self::Qemu => {
                "storage server; this kernel has no iSCSI initiator: guests use QEMU's own"
            }
        }
    }
}

/// Whether the machine's kernel has an iSCSI initiator. It would be the machine's, not a
/// lab host's: the lab's guests use QEMU's in either case.
pub fn initiator() -> Initiator {
    let kernel = Path::new("/sys/class/iscsi_transport").exists();
    if kernel { Initiator::Kernel } else { Initiator::Qemu }
}

/// The iSCSI name of a guest's target.
pub(crate) fn target_name(guest: &str) -> String {
    format!("iqn.2026-01.lab.drover:{guest}")
}
