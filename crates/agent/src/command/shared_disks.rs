//! Whether a guest's images lie where the operator says that all hosts see the same files.

use std::path::{Component, Path};

use drover_model::{Disk, DiskSource};

/// There is at least one image to speak of, and every writable one lies below a shared path.
/// A volume of a pool has no path here, so nothing can be said for it.
pub(crate) fn are_declared_shared(disks: &[Disk], shared_paths: &[String]) -> bool {
    let mut any = false;
    for disk in disks.iter().filter(|disk| !disk.readonly) {
        match &disk.source {
            DiskSource::File { path } if is_below(path, shared_paths) => any = true,
            DiskSource::File { .. } | DiskSource::Volume { .. } => return false,
            DiskSource::Block { .. } | DiskSource::Network { .. } | DiskSource::Empty => {}
        }
    }
    any
}

fn is_below(path: &str, shared_paths: &[String]) -> bool {
    let path = Path::new(path);
    let plain = path.components().all(|part| part != Component::ParentDir);
    plain && shared_paths.iter().any(|shared| path.starts_with(shared) && path != Path::new(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(are_declared_shared(&disks, &shared), answer, "{disks:?}");
        }
        assert!(!are_declared_shared(&[file("/srv/shared/a")], &[]));
    }
}
