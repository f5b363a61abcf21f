//! Whether a guest's images lie where the operator says that all hosts see the same files.

use std::path::{Component, Path};

use drover_model::{Disk, DiskCopy, DiskSource};

/// There is at least one image to speak of, and every writable one lies below a shared path.
/// A volume of a pool has no path here, so nothing can be said for it.
/// Those that are copied are not asked about.
pub(crate) fn are_declared_shared(
    disks: &[Disk],
    copied: &[DiskCopy],
    shared_paths: &[String],
) -> bool {
    let mut any = false;
    let is_copied = |disk: &Disk| copied.iter().any(|copy| copy.disk == disk.target);
    for disk in disks.iter().filter(|disk| !disk.readonly && !is_copied(disk)) {
        match &disk.source {
            DiskSource::File { path } if is_below(path, shared_paths) => any = true,
            DiskSource::File { .. } | DiskSource::Volume { .. } => return false,
            DiskSource::Block { .. } | DiskSource::Network { .. } | DiskSource::Empty => {}
        }
    }
    any
}

/// Whether a path leads below one of these directories.
pub(super) fn is_below(path: &str, shared_paths: &[String]) -> bool {
    let path = Path::new(path);
    let plain = path.components().all(|part| part != Component::ParentDir);
    plain && shared_paths.iter().any(|shared| path.starts_with(shared) && path != Path::new(shared))
}

#[cfg(test)]
pub(super) mod tests {
    use drover_model::{Bytes, Guest, GuestId, GuestState, HostId, Mib, Vcpus};

    use super::*;

    pub(in crate::command) fn guest_with(disks: Vec<Disk>) -> Guest {
        Guest {
            id: GuestId::from_u128(1),
            name: "g".to_owned(),
            host: HostId::from_u128(1),
            state: GuestState::ShutOff,
            vcpus: Vcpus(1),
            memory: Mib(1),
            current_memory: Mib(1),
            virt_type: String::new(),
            qemu: None,
            arch: String::new(),
            machine: String::new(),
            cpu_mode: String::new(),
            cpu_model: None,
            disks,
            leases: Vec::new(),
            nics: Vec::new(),
            host_devices: 0,
            persistent: true,
        }
    }

    fn disk(source: DiskSource, readonly: bool) -> Disk {
        Disk { readonly, ..Disk::new("vda", source) }
    }

    fn file(path: &str) -> Disk {
        disk(DiskSource::File { path: path.to_owned() }, false)
    }

    #[test]
    fn every_writable_image_must_lie_below_a_shared_path() {
        let shared = ["/srv/shared".to_owned(), "/mnt/nfs/".to_owned()];
        let iso = disk(DiskSource::File { path: "/tmp/cd.iso".to_owned() }, true);
        let volume =
            disk(DiskSource::Volume { pool: "p".to_owned(), volume: "v".to_owned() }, false);
        let block = disk(DiskSource::Block { path: "/dev/sdb".to_owned() }, false);
        for (disks, answer) in [
            (vec![file("/srv/shared/a.qcow2")], true),
            (vec![file("/srv/shared/a"), file("/mnt/nfs/b"), iso.clone()], true),
            (vec![file("/srv/shared/a"), block.clone()], true),
            (vec![file("/srv/shared/a"), disk(DiskSource::Empty, false)], true),
            (vec![file("/srv/shared/a"), file("/var/b")], false),
            (vec![file("/srv/shared-not/a")], false),
            (vec![file("/srv/shared/../../etc/a")], false),
            (vec![file("/srv/shared")], false),
            (vec![file("/srv/shared/a"), volume], false),
            (vec![block, iso], false),
            (vec![], false),
        ] {
            assert_eq!(are_declared_shared(&disks, &[], &shared), answer, "{disks:?}");
        }
        assert!(!are_declared_shared(&[file("/srv/shared/a")], &[], &[]));
        let local = Disk { target: "vdb".to_owned(), ..file("/var/b") };
        let copy = DiskCopy {
            disk: "vdb".to_owned(),
            from: "/var/b".to_owned(),
            to: "/var/b".to_owned(),
            format: "raw".to_owned(),
            capacity: Bytes(1),
            allocation: Bytes(1),
            backing: None,
        };
        assert!(are_declared_shared(&[file("/srv/shared/a"), local], &[copy], &shared));
    }
}
