//! A guest that sees the host's own CPU goes only to a host with the same one.
//!
//! A named model is checked by the target's libvirt before the transfer begins; here only
//! the modes are judged whose meaning differs from host to host.

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let mode = case.guest.guest.cpu_mode.as_str();
    if case.policy.skips_cpu_check || !matches!(mode, "host-passthrough" | "maximum") {
        return Verdict::Allowed;
    }
    let Some(source) = case.source else { return Verdict::Allowed };
    let (from, to) = (&source.host.capabilities.cpu, &case.target.host.capabilities.cpu);
    let same = from.model == to.model
        && from.vendor == to.vendor
        && from.microcode == to.microcode
        && sorted(&from.features) == sorted(&to.features);
    Verdict::unless(same, || {
        format!(
            "its CPU is {mode}, and {} ({}, microcode {}) differs from {} ({}, microcode {})",
            source.host.name,
            from.model,
            from.microcode.as_deref().unwrap_or("unknown"),
            case.target.host.name,
            to.model,
            to.microcode.as_deref().unwrap_or("unknown"),
        )
    })
}

fn sorted(features: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = features.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}
