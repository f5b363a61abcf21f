//! Anti-affinity: at most so many guests of a group in one domain.

use super::{PlacementCase, Verdict};
use crate::placement_rule::PlacementKind;

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let guest = case.guest.guest.id;
    let broken: Vec<String> = case
        .required_rules()
        .filter_map(|rule| {
            let PlacementKind::Apart { guests, scope, most } = &rule.kind else { return None };
            let there = case.others_in_target_domain(guests, scope);
            // A guest that stays in its domain makes it no worse.
            if there.len() < usize::from(*most) || case.stays_in_domain(guest, scope) {
                return None;
            }
            Some(format!(
                "`{}` allows {most} in one place, and {} is there already",
                rule.name,
                case.guest_names(&there)
            ))
        })
        .collect();
    Verdict::unless(broken.is_empty(), || broken.join("; "))
}
