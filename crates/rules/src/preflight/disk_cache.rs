//! A disk that two hosts reach must not be half in the page cache of one of them.
//!
//! With `cache=none` and `directsync` QEMU goes around the page cache. Network disks that QEMU
//! opens by itself have no page cache, and what is copied is read by nobody else.

use drover_model::{Disk, DiskSource, StorageCopy};

use super::{Facts, Trouble};

const CURE: &str = "set cache='none' on the disk and start the guest anew";

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    // A guest that is off has written everything.
    if !facts.is_live() {
        return Vec::new();
    }
    let cached = facts.guest.disks.iter().filter(|disk| {
        let copied = facts.settings.storage != StorageCopy::None;
        !disk.readonly && has_page_cache(&disk.source) && !(copied && is_local(disk, facts))
    });
    cached.filter_map(trouble).collect()
}

const fn has_page_cache(source: &DiskSource) -> bool {
    match source {
        DiskSource::File { .. } | DiskSource::Block { .. } | DiskSource::Volume { .. } => true,
        DiskSource::Network { .. } | DiskSource::Empty => false,
    }
}

/// A file that is below no path which both hosts share.
fn is_local(disk: &Disk, facts: &Facts<'_>) -> bool {
    let DiskSource::File { path } = &disk.source else { return false };
    let shared = |roots: &[String]| roots.iter().any(|root| super::paths::is_below(path, root));
    !(shared(&facts.source.capabilities.shared_paths)
        && shared(&facts.target.capabilities.shared_paths))
}

fn trouble(disk: &Disk) -> Option<Trouble> {
    let target = &disk.target;
    match disk.cache.as_deref() {
        Some("none" | "directsync") => None,
        Some("unsafe") => Some(Trouble::blocks(
            format!(
                "disk {target} has cache=unsafe: what the guest has written may never leave the \
                 source's page cache"
            ),
            CURE,
        )),
        Some(mode @ ("writeback" | "writethrough")) => Some(Trouble::blocks(
            format!(
                "disk {target} has cache={mode}: the target may read an old page from its own \
                 page cache"
            ),
            CURE,
        )),
        // QEMU's own choice, which is writeback. It asks the kernel to drop what is cached
        // when it takes over, which local and most network file systems do.
        _ => Some(Trouble::warns(
            format!(
                "disk {target} has no cache mode, so its host caches it; the target must drop \
                 old pages when it takes over"
            ),
            CURE,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixture::Case;
    use super::*;

    #[test]
    fn each_cache_mode_has_its_weight() {
        for (mode, severity) in [
            (Some("none"), None),
            (Some("directsync"), None),
            (Some("writeback"), Some(Severity::Blocks)),
            (Some("writethrough"), Some(Severity::Blocks)),
            (Some("unsafe"), Some(Severity::Blocks)),
            (Some("default"), Some(Severity::Warns)),
            (None, Some(Severity::Warns)),
        ] {
            let mut case = Case::new();
            case.guest.disks[0].cache = mode.map(str::to_owned);
            let told = case.says("disk-cache").map(|(severity, _)| severity);
            assert_eq!(told, severity, "{mode:?}");
        }
    }

    #[test]
    fn disks_without_a_page_cache_and_copied_ones_are_fine() {
        let mut case = Case::new();
        case.guest.disks[0].cache = Some("writeback".to_owned());
        let shared = case.guest.disks[0].source.clone();
        case.guest.disks[0].source =
            DiskSource::Network { protocol: "rbd".to_owned(), name: "p/v".to_owned() };
        assert_eq!(case.says("disk-cache"), None);
        case.guest.disks[0].source = DiskSource::File { path: "/var/lib/vm.img".to_owned() };
        assert!(case.says("disk-cache").is_some());
        case.settings.storage = StorageCopy::Full;
        assert_eq!(case.says("disk-cache"), None);
        case.guest.disks[0].source = shared;
        assert!(case.says("disk-cache").is_some(), "it is not copied");
    }
}
