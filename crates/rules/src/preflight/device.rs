//! Devices that hold on to their host.

use drover_model::TyingDevice as D;

use super::{Facts, Severity, Trouble};
use crate::version::Version;

/// First libvirt that moves the state of a software TPM when it lies on shared storage.
const TPM_MENDED: &str = "9.1.0";

const DETACH: &str = "detach it for the move and attach it anew";
const COLD: &str = "shut the guest down and move it cold, where the target has the same";

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let Some(found) = facts.inspection.this() else { return Vec::new() };
    // A warning may be about the two libvirts; what blocks is the device's nature.
    let own = |trouble: Trouble| match trouble.severity {
        Severity::Blocks => trouble.everywhere(),
        Severity::Warns => trouble,
    };
    found.ties.iter().filter_map(|tie| trouble(facts, tie).map(own)).collect()
}

fn trouble(facts: &Facts<'_>, tie: &D) -> Option<Trouble> {
    let what = name(tie);
    if !facts.is_live() && !matches!(tie, D::TpmEmulator) {
        let target = &facts.target.name;
        return Some(Trouble::warns(
            format!("it has {what}, which it will look for on {target}"),
            format!("see that {target} has the same before it is started there"),
        ));
    }
    match tie {
        D::TpmEmulator => tpm_emulator(facts),
        D::Vfio { .. } => Some(Trouble::blocks(
            format!("it has {what}, whose state is in the hardware"),
            format!("{DETACH} (a network card best as a failover pair); or {COLD}"),
        )),
        D::HostUsb { .. } | D::HostScsi { .. } | D::TpmPassthrough | D::Other { .. } => Some(
            Trouble::blocks(format!("it has {what} of its host"), format!("{DETACH}; or {COLD}")),
        ),
        D::VhostUser { .. } => Some(Trouble::blocks(
            format!("it has {what} served by a process on its host (vhost-user)"),
            format!("give it a virtio device that QEMU serves itself; or {COLD}"),
        )),
        D::Plan9 { .. } => Some(Trouble::blocks(
            format!("it has {what} mounted over 9p, which QEMU does not migrate"),
            "unmount it in the guest and detach it, or use NFS in the guest",
        )),
        D::Virtiofs { .. } => Some(Trouble::blocks(
            format!(
                "it has {what} over virtiofs, which migrates only with virtiofsd 1.10 or later \
                     on both hosts and is not known to here"
            ),
            "unmount it in the guest and detach it, or use NFS in the guest",
        )),
        D::SharedMemory { .. } => Some(Trouble::blocks(
            format!("it has {what}, and its other users stay on the host"),
            DETACH,
        )),
        D::EncryptedMemory { .. } => Some(Trouble::blocks(
            format!("it has {what}: its memory is encrypted with a key of its host's processor"),
            "it cannot move while it runs; shut it down and move it cold",
        )),
    }
}

/// The state of a software TPM is files below /var/lib/libvirt/swtpm: a running swtpm sends
/// it along, a guest that is off leaves it behind.
fn tpm_emulator(facts: &Facts<'_>) -> Option<Trouble> {
    if !facts.is_live() {
        return Some(Trouble::blocks(
            "it has a software TPM, whose keys are files on its host and would be left behind",
            "start it and move it live, or copy /var/lib/libvirt/swtpm/UUID to the target first",
        ));
    }
    let mended = Version::read(TPM_MENDED);
    let old = |version: &str| Version::read(version) < mended;
    let (source, target) = (&facts.source.capabilities, &facts.target.capabilities);
    (old(&source.libvirt) || old(&target.libvirt)).then(|| {
        Trouble::warns(
            format!(
                "it has a software TPM, and libvirt before {TPM_MENDED} ({} on {}, {} on {}) loses \
                 its state where that lies on shared storage",
                source.libvirt, facts.source.name, target.libvirt, facts.target.name
            ),
            "keep /var/lib/libvirt/swtpm local on both hosts, or update libvirt",
        )
    })
}

fn name(tie: &D) -> String {
    match tie {
        D::Vfio { name } => format!("the passed-through {name}"),
        D::HostUsb { name } => format!("the USB device {name}"),
        D::HostScsi { name } => format!("the SCSI device {name}"),
        D::VhostUser { name } => format!("the {name}"),
        D::Plan9 { tag } | D::Virtiofs { tag } => format!("the directory `{tag}`"),
        D::SharedMemory { name } => format!("the shared memory `{name}` (ivshmem)"),
        D::TpmEmulator => "a software TPM".to_owned(),
        D::TpmPassthrough => "the TPM".to_owned(),
        D::EncryptedMemory { name } => format!("launch security ({name})"),
        D::Other { name } => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use drover_model::MigrationMode;

    use super::super::fixture::Case;
    use super::*;

    fn named() -> Vec<(D, &'static str)> {
        let name = || "n1".to_owned();
        vec![
            (D::Vfio { name: name() }, "n1"),
            (D::HostUsb { name: name() }, "USB device n1"),
            (D::HostScsi { name: name() }, "SCSI device n1"),
            (D::VhostUser { name: name() }, "vhost-user"),
            (D::Plan9 { tag: name() }, "9p"),
            (D::Virtiofs { tag: name() }, "virtiofs"),
            (D::SharedMemory { name: name() }, "ivshmem"),
            (D::TpmPassthrough, "TPM"),
            (D::EncryptedMemory { name: "sev".to_owned() }, "sev"),
            (D::Other { name: name() }, "n1"),
        ]
    }

    #[test]
    fn each_device_blocks_a_live_move_by_its_name() {
        for (tie, part) in named() {
            let mut case = Case::new();
            case.inspection.ties = vec![tie.clone()];
            let (severity, cause) = case.says("device").unwrap();
            assert!(severity == Severity::Blocks && cause.contains(part), "{tie:?}: {cause}");
            case.settings.mode = MigrationMode::Cold;
            assert_eq!(case.says("device").unwrap().0, Severity::Warns, "{tie:?}");
        }
    }

    #[test]
    fn a_software_tpm_goes_along_live_and_stays_behind_cold() {
        let mut case = Case::new();
        case.inspection.ties = vec![D::TpmEmulator];
        assert_eq!(case.says("device").unwrap().0, Severity::Warns, "libvirt 9.0");
        case.source.capabilities.libvirt = "9.1.0".to_owned();
        case.target.capabilities.libvirt = "11.3.0".to_owned();
        assert_eq!(case.says("device"), None);
        case.settings.mode = MigrationMode::Cold;
        assert_eq!(case.says("device").unwrap().0, Severity::Blocks);
    }
}
