//! Users' wishes about groups of guests, as the engine's laws.

use std::collections::BTreeMap;

use drover_model::{GuestId, HostId};
use drover_rules::{PlacementKind, PlacementPolicy, PlacementRule, Scope, Strength, domain_of};

use crate::search::{Group, Law, LawKind, index};

type Groups = (Vec<Group>, Vec<Vec<u32>>, Vec<Vec<u32>>);

/// Groups, the groups of each unit, and the domain of each host at each level.
pub(super) fn groups(policy: &PlacementPolicy, hosts: &[HostId], units: &[Vec<GuestId>]) -> Groups {
    let scopes = scopes(&policy.rules);
    let domains = scopes.iter().map(|scope| numbered(policy, scope, hosts)).collect();
    let mut unit_of: BTreeMap<GuestId, u32> = BTreeMap::new();
    for (unit, guests) in units.iter().enumerate() {
        unit_of.extend(guests.iter().map(|guest| (*guest, index(unit))));
    }
    let mut groups = Vec::new();
    let mut member_of = vec![Vec::new(); units.len()];
    for rule in &policy.rules {
        let Some((kind, scope)) = law(rule) else { continue };
        let mut members: Vec<u32> =
            rule.guests().iter().filter_map(|guest| unit_of.get(guest).copied()).collect();
        members.sort_unstable();
        members.dedup();
        if members.len() < 2 {
            continue;
        }
        let level = scopes.iter().position(|known| known == scope);
        let level = level.expect("the scopes are those of these rules");
        let weight = match rule.strength {
            Strength::Required => f64::INFINITY,
            Strength::Preferred(weight) => weight,
        };
        for member in &members {
            member_of[*member as usize].push(index(groups.len()));
        }
        groups.push(Group { members, laws: vec![Law { kind, level, weight }] });
    }
    (groups, member_of, domains)
}

fn law(rule: &PlacementRule) -> Option<(LawKind, &Scope)> {
    match &rule.kind {
        PlacementKind::Apart { scope, most, .. } => Some((LawKind::Apart { most: *most }, scope)),
        PlacementKind::Together { scope, .. } => Some((LawKind::Together, scope)),
        PlacementKind::Spread { scope, least, .. } => {
            Some((LawKind::Spread { least: *least }, scope))
        }
        PlacementKind::On { .. } | PlacementKind::NotOn { .. } => None,
    }
}

/// Level 0 is the host.
fn scopes(rules: &[PlacementRule]) -> Vec<Scope> {
    let mut scopes = vec![Scope::Host];
    for scope in rules.iter().filter_map(|rule| Some(law(rule)?.1)) {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

fn numbered(policy: &PlacementPolicy, scope: &Scope, hosts: &[HostId]) -> Vec<u32> {
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    hosts
        .iter()
        .map(|host| {
            let next = index(numbers.len());
            *numbers.entry(domain_of(&policy.labels, scope, *host)).or_insert(next)
        })
        .collect()
}
