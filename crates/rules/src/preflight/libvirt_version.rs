//! Pairs of libvirt versions between which some guests cannot go.
//!
//! 9.10 added vmx-* features to CPU models, so that guests that have vmx looked to each side
//! of that change as if they had other CPUs; 10.2 mends it. libvirt does not promise that an
//! older version takes the guests of a newer one, though mostly it does. And what a move asks
//! for may be younger than one side: zlib and zstd came with 9.4.

use drover_model::Compression;

use super::{Facts, Trouble};
use crate::version::Version;

/// The CPU feature of guests that are hosts themselves (Intel).
const VMX: &str = "vmx";

/// First version whose CPU models know vmx-* features.
const VMX_BROKE: Version = Version(9, 10, 0);
/// First version that takes guests from before, and sends guests there.
const VMX_MENDED: Version = Version(10, 2, 0);

/// First version that compresses on several connections (libvirt's news of 9.4.0).
const COMPRESSES: Version = Version(9, 4, 0);

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (from, to) = (&facts.source.capabilities.libvirt, &facts.target.capabilities.libvirt);
    let (Some(source), Some(target)) = (Version::read(from), Version::read(to)) else {
        return Vec::new();
    };
    if !facts.is_live() {
        return Vec::new();
    }
    let (of, at) = (&facts.source.name, &facts.target.name);
    let has_vmx =
        facts.inspection.this().is_some_and(|found| found.cpu_features.iter().any(|f| f == VMX));
    if has_vmx && (parted(source, target) || parted(target, source)) {
        return vec![Trouble::blocks(
            format!(
                "libvirt {to} on {at} does not take a guest with {VMX} from libvirt {from} on {of}"
            ),
            "update the host with libvirt 9.10 to 10.1 to 10.2 or later",
        )];
    }
    let method = facts.settings.compress.filter(|method| *method != Compression::Xbzrle);
    let old = [(source, from, of), (target, to, at)].into_iter().find(|one| one.0 < COMPRESSES);
    if let (Some(method), Some((_, version, host))) = (method, old) {
        let method = method.as_str();
        return vec![Trouble::blocks(
            format!("libvirt {version} on {host} does not know `{method}`, which came with 9.4"),
            "leave --compress out, or take `xbzrle` without --parallel",
        )];
    }
    if target.branch() < source.branch() {
        return vec![Trouble::warns(
            format!("libvirt {to} on {at} is older than {from} on {of}"),
            "update the target first; libvirt refuses a guest that it does not understand, and \
             the guest stays where it is",
        )];
    }
    Vec::new()
}

/// One side is in the gap and the other before it.
fn parted(gap: Version, before: Version) -> bool {
    (VMX_BROKE..VMX_MENDED).contains(&gap) && before < VMX_BROKE
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixture::Case;
    use super::*;

    #[test]
    fn version_traps_are_found() {
        for (source, target, vmx, severity) in [
            ("9.0.0", "9.10.0", true, Some(Severity::Blocks)),
            ("9.9.0", "10.1.0", true, Some(Severity::Blocks)),
            ("10.0.0", "9.0.0", true, Some(Severity::Blocks)),
            ("9.0.0", "10.0.0", false, None),
            ("9.0.0", "10.2.0", true, None),
            ("10.2.0", "9.0.0", true, Some(Severity::Warns)),
            ("11.3.0", "9.0.0", false, Some(Severity::Warns)),
            ("9.0.0", "9.0.0", true, None),
            ("9.0.4", "9.0.0", false, None),
            ("", "9.0.0", true, None),
        ] {
            let mut case = Case::new();
            case.source.capabilities.libvirt = source.to_owned();
            case.target.capabilities.libvirt = target.to_owned();
            if vmx {
                case.inspection.cpu_features.push("vmx".to_owned());
            }
            let told = case.says("libvirt-version").map(|(severity, _)| severity);
            assert_eq!(told, severity, "{source} to {target}, vmx {vmx}");
        }
    }

    #[test]
    fn compression_that_one_side_does_not_know_is_found() {
        for (source, target, method, blocks) in [
            ("9.0.0", "9.0.0", Compression::Zstd, true),
            ("9.4.0", "9.3.0", Compression::Zlib, true),
            ("9.4.0", "9.4.0", Compression::Zstd, false),
            ("9.0.0", "9.0.0", Compression::Xbzrle, false),
        ] {
            let mut case = Case::new();
            case.source.capabilities.libvirt = source.to_owned();
            case.target.capabilities.libvirt = target.to_owned();
            case.settings.compress = Some(method);
            let told = case.says("libvirt-version").map(|(severity, _)| severity);
            assert_eq!(told == Some(Severity::Blocks), blocks, "{source} to {target}: {told:?}");
        }
    }
}
