//! The target's QEMU must know the guest's machine type.

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let machine = &case.guest.guest.machine;
    let target = &case.target.host;
    Verdict::unless(target.capabilities.machine_types.contains(machine), || {
        format!(
            "QEMU {} on {} has no machine type `{machine}`",
            target.capabilities.qemu, target.name
        )
    })
}
