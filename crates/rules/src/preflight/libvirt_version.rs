//! Pairs of libvirt versions between which some guests cannot go.
//!
//! 9.10 added vmx-* features to CPU models, so that guests that have vmx looked to each side
//! of that change as if they had other CPUs; 10.2 mends it. libvirt does not promise that an
//! older version takes the guests of a newer one, though mostly it does. And what a move asks
//! for may be younger than one side: zlib and zstd came with 9.4. A broken post-copy is gone on
//! with from 8.5 on, and targets of 11.2 and 11.3 crash of it.

use drover_model::{Compression, NoRecovery, PostCopy, recovers_post_copy};

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
    let mut found = Vec::new();
    if target.branch() < source.branch() {
        found.push(Trouble::warns(
            format!("libvirt {to} on {at} is older than {from} on {of}"),
            "update the target first; libvirt refuses a guest that it does not understand, and \
             the guest stays where it is",
        ));
    }
    let may_switch = facts.settings.post_copy != PostCopy::Never;
    let lost = match recovers_post_copy(source.branch(), target.branch()) {
        Ok(()) => None,
        Err(NoRecovery::Source) => Some((from, of)),
        Err(NoRecovery::Target) => Some((to, at)),
    };
    if let Some((version, host)) = lost.filter(|_| may_switch) {
        found.push(Trouble::warns(
            format!(
                "libvirt {version} on {host} cannot go on with a transfer that breaks after the \
                 switch to post-copy; the guest's memory is lost then, unless the line is back \
                 before QEMU gives the connection up (some 15 minutes)"
            ),
            "install libvirt 11.4 or newer there (Debian 13 has it in trixie-backports), or move \
             without post-copy",
        ));
    }
    found
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
    fn post_copy_that_could_not_be_gone_on_with_is_found() {
        for (source, target, post_copy, warns) in [
            ("11.3.0", "11.3.0", PostCopy::Never, false),
            ("11.3.0", "11.3.0", PostCopy::Allow, true),
            ("9.0.0", "11.2.0", PostCopy::Now, true),
            ("8.4.0", "9.0.0", PostCopy::Now, true),
            ("9.0.0", "9.0.0", PostCopy::Now, false),
            ("11.3.0", "11.4.0", PostCopy::Allow, false),
            ("8.4.0", "12.9.0", PostCopy::Allow, true),
            ("11.4.0", "12.9.0", PostCopy::Allow, false),
        ] {
            let mut case = Case::new();
            case.source.capabilities.libvirt = source.to_owned();
            case.target.capabilities.libvirt = target.to_owned();
            case.settings.post_copy = post_copy;
            let told = case.says("libvirt-version");
            let told = told.map(|(severity, text)| (severity, text.contains("post-copy")));
            assert_eq!(told, warns.then_some((Severity::Warns, true)), "{source} to {target}");
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
