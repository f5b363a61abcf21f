//! Spread: guests of a group in at least so many domains.

use std::collections::BTreeSet;

use super::{PlacementCase, Verdict};
use crate::placement_rule::{PlacementKind, domain_of};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let guest = case.guest.guest.id;
    let labels = &case.policy.labels;
    let broken: Vec<String> = case
        .required_rules()
        .filter_map(|rule| {
            let PlacementKind::Spread { guests, scope, least } = &rule.kind else { return None };
            let domains = |moved: bool| -> BTreeSet<String> {
                let host = |id| match moved && id == guest {
                    true => Some(case.target.host.id),
                    false => case.projection.host_of(id),
                };
                guests.iter().filter_map(|id| Some(domain_of(labels, scope, host(*id)?))).collect()
            };
            let (before, after) = (domains(false).len(), domains(true).len());
            if after >= usize::from(*least) || after >= before {
                return None;
            }
            Some(format!("`{}` wants {least} places, and {after} would be left", rule.name))
        })
        .collect();
    Verdict::unless(broken.is_empty(), || broken.join("; "))
}
