//! Same architecture, and an accelerator that the target has.

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let guest = &case.guest.guest;
    let target = &case.target.host;
    let capabilities = &target.capabilities;
    if capabilities.cpu.arch != guest.arch {
        return Verdict::Refused(format!(
            "the guest is {}, {} is {}",
            guest.arch, target.name, capabilities.cpu.arch
        ));
    }
    Verdict::unless(capabilities.virt_types.contains(&guest.virt_type), || {
        format!("{} offers no domain type `{}`", target.name, guest.virt_type)
    })
}
