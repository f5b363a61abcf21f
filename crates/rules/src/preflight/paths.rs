//! What the guest opens by a path must be there on the target, whatever was declared: a file
//! system that is not mounted, an ISO image that only the source has.

use drover_model::{Disk, DiskSource, GuestInspection, StorageCopy};

use super::{Facts, Trouble};

/// The paths that a target has to be asked for.
pub fn paths(inspection: &GuestInspection) -> Vec<String> {
    let disks = inspection.guest.disks.iter().filter_map(path_of);
    let mut all: Vec<String> =
        disks.map(str::to_owned).chain(inspection.files.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

const fn path_of(disk: &Disk) -> Option<&str> {
    match &disk.source {
        DiskSource::File { path } | DiskSource::Block { path } => Some(path.as_str()),
        DiskSource::Volume { .. } | DiskSource::Network { .. } | DiskSource::Empty => None,
    }
}

/// Whether a path is in a directory, or in one below it.
pub(super) fn is_below(path: &str, root: &str) -> bool {
    std::path::Path::new(path).starts_with(root)
}

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (Some(found), Some(incoming)) = (facts.inspection.this(), facts.incoming.this()) else {
        return Vec::new();
    };
    // It was asked for others, too.
    let needed = paths(found);
    let missing = incoming.missing_paths.iter().filter(|path| needed.contains(path));
    missing.filter_map(|path| trouble(facts, found, path)).collect()
}

fn trouble(facts: &Facts<'_>, found: &GuestInspection, path: &str) -> Option<Trouble> {
    let target = &facts.target.name;
    let Some(disk) = found.guest.disks.iter().find(|disk| path_of(disk) == Some(path)) else {
        return Some(Trouble::blocks(
            format!("{path}, which the guest needs to start, is not on {target}"),
            format!("copy it to {target} or put it on shared storage"),
        ));
    };
    let medium = found.media.iter().find(|medium| medium.target == disk.target);
    let device = medium.map_or("disk", |medium| medium.device.as_str());
    if matches!(device, "cdrom" | "floppy") {
        return Some(Trouble::blocks(
            format!("{device} {} holds {path}, which is not on {target}", disk.target),
            format!(
                "eject it (`virsh change-media {} {} --eject`) or copy it to {target}",
                found.guest.name, disk.target
            ),
        ));
    }
    // What is copied need not be there; what must not be copied is another check's business.
    if facts.settings.storage != StorageCopy::None && !disk.shareable {
        return None;
    }
    let size = medium.and_then(|medium| medium.capacity);
    let size = size.map_or_else(String::new, |size| format!(", {size}"));
    Some(Trouble::blocks(
        format!("disk {} ({path}{size}) is not on {target}", disk.target),
        "mount its storage there, or copy it with the guest (`--copy-storage full`)",
    ))
}

#[cfg(test)]
mod tests {
    use drover_model::Bytes;

    use super::super::Severity;
    use super::super::fixture::Case;
    use super::*;

    #[test]
    fn a_path_that_is_missing_is_named_with_what_it_is() {
        for (device, part) in [("disk", "disk vda"), ("cdrom", "cdrom vda"), ("lun", "disk vda")] {
            let mut case = Case::new();
            case.inspection.media[0].device = device.to_owned();
            case.inspection.media[0].capacity = Some(Bytes(10 << 30));
            case.incoming.missing_paths = vec!["/srv/shared/vm1.img".to_owned()];
            let (severity, cause) = case.says("path").unwrap();
            assert!(severity == Severity::Blocks && cause.contains(part), "{cause}");
        }
        let mut case = Case::new();
        case.inspection.files = vec!["/boot/vmlinuz".to_owned()];
        case.incoming.missing_paths = case.inspection.files.clone();
        assert!(case.says("path").unwrap().1.contains("to start"));
    }

    #[test]
    fn a_disk_that_is_copied_need_not_be_there_but_a_medium_must() {
        let mut case = Case::new();
        case.settings.storage = StorageCopy::Full;
        case.incoming.missing_paths = vec!["/srv/shared/vm1.img".to_owned()];
        assert_eq!(case.says("path"), None);
        case.inspection.media[0].device = "cdrom".to_owned();
        assert!(case.says("path").is_some());
    }

    #[test]
    fn every_path_is_asked_for_once() {
        let mut case = Case::new();
        let again = case.inspection.guest.disks[0].clone();
        case.inspection.guest.disks.push(again);
        case.inspection.files = vec!["/boot/vmlinuz".to_owned()];
        assert_eq!(paths(&case.inspection), ["/boot/vmlinuz", "/srv/shared/vm1.img"]);
    }
}
