//! Pins and exclusions: hosts that guests must, or must not, run on.

use super::{PlacementCase, Verdict};
use crate::placement_rule::PlacementKind;

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = &case.target.host;
    let broken: Vec<String> = case
        .required_rules()
        .filter_map(|rule| match &rule.kind {
            PlacementKind::On { hosts, .. } if !hosts.contains(&target.id) => {
                Some(format!("`{}` keeps it off {}", rule.name, target.name))
            }
            PlacementKind::NotOn { hosts, .. } if hosts.contains(&target.id) => {
                Some(format!("`{}` excludes {}", rule.name, target.name))
            }
            _ => None,
        })
        .collect();
    Verdict::unless(broken.is_empty(), || broken.join("; "))
}
