//! Passthrough devices cannot be migrated live.

use super::{MovableCase, Verdict};

pub(super) fn check(case: &MovableCase<'_>) -> Verdict {
    let count = case.guest.guest.host_devices;
    Verdict::unless(count == 0, || format!("it has {count} host device(s) passed through"))
}
