//! Affinity: guests of a group stay in one domain.
//!
//! While a whole group moves, its members arrive one after the other: a plan is judged at
//! its end (`audit`), one guest's own move here.

use super::{PlacementCase, Verdict};
use crate::placement_rule::PlacementKind;

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let guest = case.guest.guest.id;
    let broken: Vec<String> = case
        .required_rules()
        .filter_map(|rule| {
            let PlacementKind::Together { guests, scope } = &rule.kind else { return None };
            let there = case.others_in_target_domain(guests, scope);
            let known: Vec<_> = guests
                .iter()
                .copied()
                .filter(|other| *other != guest && case.projection.host_of(*other).is_some())
                .collect();
            let left: Vec<_> =
                known.iter().copied().filter(|other| !there.contains(other)).collect();
            if left.is_empty() || case.stays_in_domain(guest, scope) || there.len() > left.len() {
                return None;
            }
            Some(format!("`{}` keeps it with {}", rule.name, case.guest_names(&left)))
        })
        .collect();
    Verdict::unless(broken.is_empty(), || broken.join("; "))
}
