//! A shareable disk may be written by several QEMUs at once, so QEMU takes no lock on it: were
//! the guest ever to run on both hosts, nothing would keep it from destroying the disk. A lost
//! answer at the end of libvirt's own protocol is enough for that.

use super::{Facts, Severity, Trouble};

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let shareable = facts.guest.disks.iter().filter(|disk| disk.shareable && !disk.readonly);
    shareable
        .map(|disk| {
            Trouble::blocks(
                format!(
                    "disk {} is shareable: QEMU takes no lock on it, and nothing keeps two \
                     copies of the guest from writing to it",
                    disk.target
                ),
                "take <shareable/> out of the disk and start the guest anew, or shut it down, \
                 with all others that use the disk, before it is moved",
            )
            .everywhere()
        })
        .map(|trouble| match facts.is_live() {
            true => trouble,
            // It is the way out: no copy of the guest runs while it goes.
            false => Trouble { severity: Severity::Warns, ..trouble },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixture::Case;

    #[test]
    fn a_shareable_disk_is_refused_unless_nothing_writes_to_it() {
        let mut case = Case::new();
        case.guest.disks[0].shareable = true;
        let (severity, cause) = case.says("shareable-disk").unwrap();
        assert!(severity == Severity::Blocks && cause.contains("vda"), "{cause}");
        case.settings.mode = drover_model::MigrationMode::Cold;
        assert_eq!(case.says("shareable-disk").unwrap().0, Severity::Warns);
        case.guest.disks[0].readonly = true;
        assert_eq!(case.says("shareable-disk"), None);
    }
}
