//! What keeps a second copy of a guest from writing to its disks.
//!
//! A second copy should never run. Where libvirt or a network fails at the wrong moment,
//! or somebody starts a guest by hand, only a lock that every host respects keeps two
//! copies apart (docs/decisions/0008). What a disk is guarded by is said from its kind and
//! from what the hosts declare; whether the lock daemons work is not known here.

use std::path::Path;

use drover_model::{Disk, DiskSource, Guest, Host, PoolDescription};

/// What keeps a second copy of a guest from writing to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// The guest holds a lease: no second copy's code can run, whatever its disks are.
    Lease,
    /// QEMU's lock on the image, on a file system that all hosts share.
    ImageLock,
    /// The bytes are on one host only: another host has no such disk.
    OwnHost,
    /// Nothing writes to it.
    ReadOnly,
    /// Nothing.
    None,
}

impl Protection {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::ImageLock => "image-lock",
            Self::OwnHost => "own-host",
            Self::ReadOnly => "read-only",
            Self::None => "none",
        }
    }

    /// Whether a second copy on another host cannot damage the disk.
    pub const fn is_safe(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// One disk's protection, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskProtection {
    /// Name in the guest, e.g. `vda`.
    pub target: String,
    /// What keeps a second copy away.
    pub protection: Protection,
    /// Why it is said to be so, and for `None` what would help.
    pub reason: String,
}

/// Protection of every disk of a guest, in their order, on these hosts: the one it is on
/// and, for a move, the one it goes to. Only what holds on all of them counts.
pub fn protection<'h>(
    guest: &Guest,
    hosts: impl IntoIterator<Item = &'h Host>,
) -> Vec<DiskProtection> {
    let hosts: Vec<&Host> = hosts.into_iter().collect();
    let lease = lease(guest, &hosts);
    let of = |disk: &Disk| {
        let (protection, reason) = match &lease {
            _ if disk.readonly || disk.source == DiskSource::Empty => {
                (Protection::ReadOnly, "nothing writes to it".to_owned())
            }
            Leasing::Held(reason) => (Protection::Lease, reason.clone()),
            Leasing::Ignored(why) => {
                let (protection, reason) = without_lease(disk, &hosts);
                (protection, format!("{reason}; its lease counts for nothing: {why}"))
            }
            Leasing::None => without_lease(disk, &hosts),
        };
        DiskProtection { target: disk.target.clone(), protection, reason }
    };
    guest.disks.iter().map(of).collect()
}

/// What a guest's leases are worth.
enum Leasing {
    /// It names none.
    None,
    /// It names one that does not keep the hosts apart; why.
    Ignored(String),
    /// Every host respects it; how it is called.
    Held(String),
}

fn lease(guest: &Guest, hosts: &[&Host]) -> Leasing {
    let Some(first) = guest.leases.first() else { return Leasing::None };
    let mut common: Option<&str> = None;
    for host in hosts {
        match (&host.capabilities.lock_manager, common) {
            (None, _) => {
                return Leasing::Ignored(format!("libvirt on {} has no lock_manager", host.name));
            }
            // Two kinds of lock manager do not see each other's locks.
            (Some(kind), Some(other)) if kind != other => {
                return Leasing::Ignored(format!(
                    "lock_manager is {kind} on {} and {other} on its peer",
                    host.name
                ));
            }
            (Some(kind), _) => common = Some(kind),
        }
    }
    common.map_or_else(
        || Leasing::Ignored("its host is not known".to_owned()),
        |kind| Leasing::Held(format!("it holds the {kind} lease `{}`", first.key)),
    )
}

fn without_lease(disk: &Disk, hosts: &[&Host]) -> (Protection, String) {
    let none = |why: &str| (Protection::None, format!("{why}; give the guest a lease"));
    if disk.shareable {
        return none("it is shareable, so neither QEMU nor libvirt locks it for one writer");
    }
    match &disk.source {
        DiskSource::Empty => (Protection::ReadOnly, "it has no medium".to_owned()),
        DiskSource::File { path } => file(path, hosts),
        DiskSource::Block { path } => none(&format!(
            "QEMU's lock on the block device {path} is not seen by other hosts that see the device"
        )),
        DiskSource::Network { protocol, .. } if protocol == "rbd" => {
            none("Ceph's exclusive lock goes to whoever asks for it")
        }
        DiskSource::Network { protocol, .. } => {
            none(&format!("nothing locks a disk that QEMU opens over {protocol}"))
        }
        DiskSource::Volume { pool, volume } => {
            let found = hosts
                .iter()
                .find_map(|host| host.capabilities.pools.iter().find(|known| known.name == *pool));
            match found {
                None => none(&format!("no host of it tells what the pool `{pool}` is")),
                Some(found) => volume_of(found, volume, hosts),
            }
        }
    }
}

fn file(path: &str, hosts: &[&Host]) -> (Protection, String) {
    let shared_on = |host: &&Host| -> bool {
        host.capabilities.shared_paths.iter().any(|root| Path::new(path).starts_with(root))
    };
    if hosts.iter().all(shared_on) && !hosts.is_empty() {
        (
            Protection::ImageLock,
            "QEMU locks the image on the file system that hosts share".to_owned(),
        )
    } else if hosts.iter().any(shared_on) {
        (Protection::None, format!("{path} is declared shared on some of its hosts only"))
    } else {
        (Protection::OwnHost, format!("{path} is below no path that is declared shared"))
    }
}

fn volume_of(pool: &PoolDescription, volume: &str, hosts: &[&Host]) -> (Protection, String) {
    match (pool.kind.as_str(), &pool.path) {
        ("netfs", _) => {
            (Protection::ImageLock, "QEMU locks the image on the network file system".to_owned())
        }
        ("dir" | "fs", Some(path)) => file(&format!("{path}/{volume}"), hosts),
        (kind, _) => (
            Protection::None,
            format!(
                "QEMU's lock on a volume of a pool of type {kind} is not seen by other hosts; \
                     give the guest a lease"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use drover_model::Lease;
    use drover_testkit::{guest, host};

    use super::*;

    fn hosts(managers: [Option<&str>; 2]) -> [Host; 2] {
        let with = |n, manager: Option<&str>| {
            let mut host = host(n, 4.0, 8);
            host.capabilities.lock_manager = manager.map(str::to_owned);
            host.capabilities.pools = ["dir:/srv/shared/pool", "logical:/dev/vg", "netfs:/mnt"]
                .iter()
                .map(|text| {
                    let (kind, path) = text.split_once(':').unwrap();
                    PoolDescription {
                        name: kind.to_owned(),
                        kind: kind.to_owned(),
                        path: Some(path.to_owned()),
                        active: true,
                    }
                })
                .collect();
            host
        };
        [with(1, managers[0]), with(2, managers[1])]
    }

    fn of(disk: Disk, leased: bool, managers: [Option<&str>; 2]) -> DiskProtection {
        let mut guest = guest(1, 1, 512);
        guest.disks = vec![disk];
        if leased {
            guest.leases = vec![Lease { lockspace: "locks".to_owned(), key: "vm1".to_owned() }];
        }
        protection(&guest, &hosts(managers)).remove(0)
    }

    fn disk(source: DiskSource) -> Disk {
        Disk::new("vda", source)
    }

    fn file_at(path: &str) -> Disk {
        disk(DiskSource::File { path: path.to_owned() })
    }

    fn iscsi() -> Disk {
        let (protocol, name) = ("iscsi".to_owned(), "iqn.x/1".to_owned());
        disk(DiskSource::Network { protocol, name })
    }

    fn volume(pool: &str) -> Disk {
        disk(DiskSource::Volume { pool: pool.to_owned(), volume: "v".to_owned() })
    }

    #[test]
    fn without_a_lease_the_kind_of_disk_decides() {
        let rbd = disk(DiskSource::Network { protocol: "rbd".to_owned(), name: "p/v".to_owned() });
        let block = disk(DiskSource::Block { path: "/dev/vg/v".to_owned() });
        for (disk, expected, word) in [
            (file_at("/srv/shared/a.img"), Protection::ImageLock, "QEMU locks"),
            (file_at("/var/lib/a.img"), Protection::OwnHost, "below no path"),
            (file_at("/srv/shared-not/a.img"), Protection::OwnHost, "below no path"),
            (block, Protection::None, "block device"),
            (iscsi(), Protection::None, "iscsi"),
            (rbd, Protection::None, "exclusive lock"),
            (volume("dir"), Protection::ImageLock, "QEMU locks"),
            (volume("netfs"), Protection::ImageLock, "network file system"),
            (volume("logical"), Protection::None, "type logical"),
            (volume("unknown"), Protection::None, "unknown"),
            (disk(DiskSource::Empty), Protection::ReadOnly, "nothing writes"),
            (Disk { readonly: true, ..iscsi() }, Protection::ReadOnly, "nothing writes"),
            (
                Disk { shareable: true, ..file_at("/srv/shared/a.img") },
                Protection::None,
                "shareable",
            ),
        ] {
            let said = of(disk.clone(), false, [None, None]);
            assert_eq!(said.protection, expected, "{disk:?}: {}", said.reason);
            assert!(said.reason.contains(word), "{disk:?}: {}", said.reason);
        }
    }

    #[test]
    fn a_lease_counts_where_every_host_has_the_same_lock_manager() {
        let lockd = Some("lockd");
        for (managers, expected, word) in [
            ([lockd, lockd], Protection::Lease, "lockd lease `vm1`"),
            ([lockd, None], Protection::None, "libvirt on h2 has no lock_manager"),
            ([None, lockd], Protection::None, "libvirt on h1 has no lock_manager"),
            ([lockd, Some("sanlock")], Protection::None, "sanlock on h2 and lockd"),
        ] {
            let said = of(iscsi(), true, managers);
            assert_eq!(said.protection, expected, "{managers:?}: {}", said.reason);
            assert!(said.reason.contains(word), "{managers:?}: {}", said.reason);
        }
        // The image lock holds without libvirt's help.
        let said = of(file_at("/srv/shared/a.img"), true, [lockd, None]);
        assert_eq!(said.protection, Protection::ImageLock);
    }

    #[test]
    fn a_path_must_be_shared_on_both_hosts() {
        let mut pair = hosts([None, None]);
        pair[1].capabilities.shared_paths.clear();
        let said = protection(&guest(1, 1, 512), &pair).remove(0);
        assert_eq!(said.protection, Protection::None, "{}", said.reason);
        assert!(said.reason.contains("some of its hosts only"), "{}", said.reason);
    }
}
