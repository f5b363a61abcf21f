//! QEMU reads what older versions send; what newer ones send, only as far as the machine type
//! keeps them to it.
//!
//! A machine type that the target's QEMU has not at all is the constraint `machine-type`.

use super::{Facts, Trouble};
use crate::version::Version;

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (from, to) = (&facts.source.capabilities.qemu, &facts.target.capabilities.qemu);
    let (Some(source), Some(target)) = (Version::read(from), Version::read(to)) else {
        return Vec::new();
    };
    if target.branch() >= source.branch() || !facts.is_live() {
        return Vec::new();
    }
    let machine = &facts.guest.machine;
    let pinned = machine.rsplit_once('-').is_some_and(|(_, last)| Version::read(last).is_some());
    let cause =
        format!("QEMU {to} on {} is older than {from} on {}", facts.target.name, facts.source.name);
    if pinned {
        vec![Trouble::warns(
            format!("{cause}; only the machine type {machine} keeps them alike"),
            "update the target first, or try with a guest that may fail",
        )]
    } else {
        vec![Trouble::blocks(
            format!("{cause}, and the machine type {machine} has no version that binds both"),
            "update the target's QEMU, or start the guest anew with a versioned machine type",
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixture::Case;

    #[test]
    fn an_older_qemu_warns_and_blocks_without_a_versioned_machine() {
        for (machine, source, target, severity) in [
            ("pc-q35-7.2", "8.2.1", "7.2.22", Some(Severity::Warns)),
            ("microvm", "8.2.1", "7.2.22", Some(Severity::Blocks)),
            ("pc-q35-7.2", "7.2.22", "7.2.4", None),
            ("pc-q35-7.2", "7.2.22", "10.0.2", None),
            ("pc-q35-7.2", "", "10.0.2", None),
        ] {
            let mut case = Case::new();
            case.guest.machine = machine.to_owned();
            case.source.capabilities.qemu = source.to_owned();
            case.target.capabilities.qemu = target.to_owned();
            let told = case.says("qemu-version").map(|(severity, _)| severity);
            assert_eq!(told, severity, "{machine} {source} {target}");
        }
    }
}
