//! Another host, and one that the rule allows.

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = case.target.host.id;
    if case.projection.host_of(case.guest.guest.id) == Some(target) {
        return Verdict::Refused("it is there already".to_owned());
    }
    let allowed = &case.policy.target_hosts;
    Verdict::unless(allowed.is_empty() || allowed.contains(&target), || {
        "the rule does not name this host as a target".to_owned()
    })
}
