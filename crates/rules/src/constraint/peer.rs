//! The source's libvirtd must know how to reach the target's.

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = &case.target.host;
    Verdict::unless(!target.peer_uri.is_empty() && !target.migration_address.is_empty(), || {
        format!("the agent of {} names no peer_uri or migration_address", target.name)
    })
}
