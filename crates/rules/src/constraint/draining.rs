//! A host that is being emptied takes nothing.

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = &case.target.host;
    Verdict::unless(!case.policy.draining.contains(&target.id), || {
        format!("{} is being emptied", target.name)
    })
}
