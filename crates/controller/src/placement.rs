//! What users wish about where guests run, as plans take it: pure.
//!
//! Rules keep ids. A guest or host that is gone drops out here and comes back with its
//! return; what remains of a rule must still mean something, or the rule rests.

use std::collections::{BTreeMap, BTreeSet};

use drover_lifecycle::power::ParkState;
use drover_model::{ClusterView, GuestId, HostId, Timestamp};
use drover_planner::{Budget, Goal, Policy, plan};
use drover_rules::constraint::{Asleep, PowerCap};
use drover_rules::{
    Aggregate, Initiative, Labels, PlacementKind, PlacementPolicy, PlacementRule, Scope, domain_of,
};
use rand_pcg::Pcg64;

use crate::records::{CappedHosts, Cause, PowerCapRecord, PowerPhase, Tables};
use crate::view::{Over, Samples, cluster_view};
use crate::waker::{Sleeper, Standing, sleepers};

/// Named limits of placement rules and labels.
pub mod limits {
    /// Most placement rules: the search looks at each for every move it tries.
    pub const MAX_RULES: usize = 1000;
    /// Most guests of one rule.
    pub const MAX_GUESTS: usize = 1000;
    /// Longest name of a rule, a label or its value.
    pub const MAX_NAME: usize = 63;
    /// Most labels of one host.
    pub const MAX_LABELS: usize = 32;
    /// Dearest wish: a hundred imbalances of the whole cluster.
    pub const MAX_WEIGHT: f64 = 100.0;
}

/// The policy that every plan starts from: wishes, and what checks of moves have found of late.
pub fn standing(tables: &Tables) -> PlacementPolicy {
    PlacementPolicy { refused: crate::preflight::memory::known(tables), ..wishes(tables) }
}

/// Who wants what is done for this cause.
pub fn initiative(tables: &Tables, cause: &Cause) -> Initiative {
    match cause {
        Cause::Request { .. } => Initiative::Request,
        Cause::Rule { .. } | Cause::Policy { .. } => Initiative::Own,
        // Parking empties hosts as well.
        Cause::Drain { host, .. } => {
            tables.maintenance.get(*host).map_or(Initiative::Own, |drain| drain.initiative)
        }
    }
}

/// Rules that mean something now, labels, and hosts that are to be empty.
pub fn wishes(tables: &Tables) -> PlacementPolicy {
    PlacementPolicy {
        rules: tables.placement.iter().filter_map(|r| present(tables, &r.rule)).collect(),
        labels: labels(tables),
        draining: closed(tables),
        asleep: asleep(tables),
        power_caps: tables.power_caps.iter().map(|record| power_cap(tables, record)).collect(),
        ..PlacementPolicy::default()
    }
}

/// Hosts that take nothing: they are emptied, switched off, or not proven to be awake.
fn closed(tables: &Tables) -> Vec<HostId> {
    let moving = tables.power.iter().filter(|record| record.phase != PowerPhase::Settled);
    let emptied = tables.maintenance.iter().map(|record| record.host);
    let all: BTreeSet<HostId> = emptied.chain(moving.map(|record| record.host)).collect();
    all.into_iter().collect()
}

/// Hosts whose power is going somewhere.
fn asleep(tables: &Tables) -> BTreeMap<HostId, Asleep> {
    let hosts = tables.power.iter().map(|record| record.host);
    hosts.filter_map(|host| Some((host, asleep_of(tables, host)?))).collect()
}

/// Where a host's power is going; none where it is in use.
pub fn asleep_of(tables: &Tables, host: HostId) -> Option<Asleep> {
    match &tables.power.get(host)?.phase {
        PowerPhase::Settled => None,
        PowerPhase::Parking(park) if park.state == ParkState::Draining => Some(Asleep::Parking),
        PowerPhase::Parking(_) => Some(Asleep::SwitchingOff),
        PowerPhase::Parked(_) => Some(Asleep::Parked),
        PowerPhase::Waking(_) => Some(Asleep::Waking),
        PowerPhase::WakeFailed(_) => Some(Asleep::WakeFailed),
    }
}

/// Labels of hosts that exist.
pub fn labels(tables: &Tables) -> Labels {
    let mut labels = Labels::new();
    for record in tables.labels.iter().filter(|record| tables.hosts.get(record.host).is_some()) {
        for (label, value) in &record.labels {
            labels.entry(label.clone()).or_default().insert(record.host, value.clone());
        }
    }
    labels
}

/// A cap with the hosts that are in it now.
pub fn power_cap(tables: &Tables, record: &PowerCapRecord) -> PowerCap {
    let hosts: Vec<HostId> = match &record.hosts {
        CappedHosts::Named(hosts) => {
            hosts.iter().copied().filter(|host| tables.hosts.get(*host).is_some()).collect()
        }
        CappedHosts::Label { label, value } => {
            let all = labels(tables);
            let of = all.get(label).into_iter().flatten();
            of.filter(|(_, has)| *has == value).map(|(host, _)| *host).collect()
        }
    };
    let is_off = |one: &Sleeper| one.standing == Standing::Parked && hosts.contains(&one.host);
    let off = sleepers(tables).into_iter().filter(is_off).map(|one| one.host).collect();
    PowerCap { name: record.name.clone(), hosts, off, watts: record.watts }
}

/// The rule with the guests and hosts that exist; none when it means nothing without the
/// others.
pub fn present(tables: &Tables, rule: &PlacementRule) -> Option<PlacementRule> {
    let mut rule = rule.clone();
    let known = |guest: &GuestId| tables.guests.get(*guest).is_some_and(|record| !record.absent);
    let (guests, hosts, fewest) = match &mut rule.kind {
        PlacementKind::Apart { guests, .. }
        | PlacementKind::Together { guests, .. }
        | PlacementKind::Spread { guests, .. } => (guests, None, 2),
        PlacementKind::On { guests, hosts } | PlacementKind::NotOn { guests, hosts } => {
            (guests, Some(hosts), 1)
        }
    };
    guests.retain(known);
    let named = hosts.is_none_or(|hosts| {
        hosts.retain(|host| tables.hosts.get(*host).is_some());
        !hosts.is_empty()
    });
    (named && guests.len() >= fewest).then_some(rule)
}

/// Why each rule that is broken now is: sentences by rule name. Needs no measurements.
pub fn broken(tables: &Tables, now: Timestamp) -> BTreeMap<String, String> {
    let over = Over {
        period: std::time::Duration::ZERO,
        aggregate: Aggregate::Mean,
        sample_interval: std::time::Duration::ZERO,
    };
    let view = cluster_view(tables, &Samples::new(), now, over);
    broken_in(&view, standing(tables))
}

fn broken_in(view: &ClusterView, placement: PlacementPolicy) -> BTreeMap<String, String> {
    let names: Vec<String> = placement.rules.iter().map(|rule| rule.name.clone()).collect();
    let policy = Policy::new(Goal::Repair, placement);
    let budget = Budget { max_moves: 0, effort: 0, ..Budget::default() };
    let (_, report) = plan(view, &policy, &budget, &mut Pcg64::new(1, 1));
    // A sentence begins with the rule's name in backquotes, which no name can hold.
    let sentences = report.broken.0.into_iter();
    let named = sentences.filter_map(|text| {
        let name = text.strip_prefix('`')?.split('`').next()?.to_owned();
        let why = text.split_once("): ").map_or(text.as_str(), |(_, why)| why).to_owned();
        names.contains(&name).then_some((name, why))
    });
    named.collect()
}

/// Why required rules cannot all hold, whatever is moved; none where nothing is seen
/// against it. Room on the hosts is not looked at: it changes.
pub fn contradiction(
    rules: &[PlacementRule],
    labels: &Labels,
    hosts: &[HostId],
    name_of: impl Fn(GuestId) -> String,
) -> Option<String> {
    let required: Vec<&PlacementRule> = rules.iter().filter(|rule| rule.is_required()).collect();
    let pinned: BTreeSet<GuestId> =
        required.iter().flat_map(|rule| rule.guests().iter().copied()).collect();
    let mut allowed: BTreeMap<GuestId, BTreeSet<HostId>> = BTreeMap::new();
    for guest in pinned {
        let may = |host: &HostId| required.iter().all(|rule| allows(rule, guest, *host));
        let left: BTreeSet<HostId> = hosts.iter().copied().filter(may).collect();
        if left.is_empty() {
            let of: Vec<String> = naming(&required, guest);
            return Some(format!("{} leave no host for {}", of.join(" and "), name_of(guest)));
        }
        allowed.insert(guest, left);
    }
    for rule in &required {
        let PlacementKind::Together { guests, scope } = &rule.kind else { continue };
        let domains = |guest: &GuestId| -> BTreeSet<String> {
            let hosts = allowed.get(guest).into_iter().flatten();
            hosts.map(|host| domain_of(labels, scope, *host)).collect()
        };
        let common =
            guests.iter().map(domains).reduce(|a, b| a.intersection(&b).cloned().collect());
        if common.is_some_and(|common| common.is_empty()) {
            return Some(format!("no place is allowed for all guests of `{}`", rule.name));
        }
        for other in &required {
            if let Some(why) = parted(guests, scope, &rule.name, other) {
                return Some(why);
            }
        }
    }
    None
}

/// Whether hosts named by one rule let the guest be there.
fn allows(rule: &PlacementRule, guest: GuestId, host: HostId) -> bool {
    match &rule.kind {
        PlacementKind::On { guests, hosts } => !guests.contains(&guest) || hosts.contains(&host),
        PlacementKind::NotOn { guests, hosts } => {
            !guests.contains(&guest) || !hosts.contains(&host)
        }
        _ => true,
    }
}

fn naming(rules: &[&PlacementRule], guest: GuestId) -> Vec<String> {
    let by_host = |kind: &PlacementKind| {
        matches!(kind, PlacementKind::On { .. } | PlacementKind::NotOn { .. })
    };
    let about = rules.iter().filter(|rule| by_host(&rule.kind) && rule.guests().contains(&guest));
    about.map(|rule| format!("`{}`", rule.name)).collect()
}

/// Why guests that must be together cannot be, because of a rule that parts them.
fn parted(
    together: &[GuestId],
    scope: &Scope,
    name: &str,
    other: &PlacementRule,
) -> Option<String> {
    let both = |guests: &[GuestId]| guests.iter().filter(|g| together.contains(g)).count();
    // On one host is in one rack as well; in one rack is not on one host.
    let within = |of: &Scope| of == scope || *scope == Scope::Host;
    let text = |what: String| Some(format!("`{name}` keeps together what `{}` {what}", other.name));
    match &other.kind {
        PlacementKind::Apart { guests, scope, most }
            if within(scope) && both(guests) > usize::from(*most) =>
        {
            text(format!("keeps apart ({} guests, at most {most} in one place)", both(guests)))
        }
        PlacementKind::Spread { guests, scope, least }
            if within(scope) && guests.len() - both(guests) + 1 < usize::from(*least) =>
        {
            text(format!("spreads over {least} places"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use drover_rules::Strength;
    use drover_testkit::{guest_id, host_id};

    use super::*;

    fn rule(name: &str, kind: PlacementKind) -> PlacementRule {
        PlacementRule { name: name.to_owned(), kind, strength: Strength::Required }
    }

    fn guests(numbers: &[u128]) -> Vec<GuestId> {
        numbers.iter().map(|n| guest_id(*n)).collect()
    }

    fn hosts(numbers: &[u128]) -> Vec<HostId> {
        numbers.iter().map(|n| host_id(*n)).collect()
    }

    fn check(rules: &[PlacementRule], expected: Option<&str>) {
        let racks = [(host_id(1), "r1".to_owned()), (host_id(2), "r1".to_owned())];
        let labels = Labels::from([("rack".to_owned(), BTreeMap::from(racks))]);
        let found = contradiction(rules, &labels, &hosts(&[1, 2, 3]), |id| id.to_string());
        match (&found, expected) {
            (Some(text), Some(word)) => assert!(text.contains(word), "{text}"),
            (None, None) => {}
            _ => panic!("{found:?}, not {expected:?}"),
        }
    }

    fn on(numbers: &[u128], to: &[u128]) -> PlacementKind {
        PlacementKind::On { guests: guests(numbers), hosts: hosts(to) }
    }

    fn together(numbers: &[u128], scope: Scope) -> PlacementKind {
        PlacementKind::Together { guests: guests(numbers), scope }
    }

    fn apart(numbers: &[u128], scope: Scope) -> PlacementKind {
        PlacementKind::Apart { guests: guests(numbers), scope, most: 1 }
    }

    #[test]
    fn a_pin_and_an_exclusion_that_leave_no_host_are_seen() {
        let off = PlacementKind::NotOn { guests: guests(&[1]), hosts: hosts(&[1, 2]) };
        check(&[rule("a", on(&[1], &[1, 2])), rule("b", off.clone())], Some("leave no host"));
        check(&[rule("a", on(&[1], &[1, 3])), rule("b", off)], None);
        check(&[rule("a", on(&[1], &[1])), rule("b", on(&[1], &[2]))], Some("`a` and `b`"));
    }

    #[test]
    fn guests_pinned_to_different_places_cannot_be_together() {
        let pins = [rule("a", on(&[1], &[1])), rule("b", on(&[2], &[2]))];
        let with = |kind| [pins[0].clone(), pins[1].clone(), rule("c", kind)];
        check(&with(together(&[1, 2], Scope::Host)), Some("no place"));
        check(&with(together(&[1, 2], Scope::Label("rack".to_owned()))), None);
    }

    #[test]
    fn together_and_apart_of_the_same_guests_exclude_each_other_within_a_place() {
        let rack = || Scope::Label("rack".to_owned());
        let pair = |a, b| [rule("a", together(&[1, 2], a)), rule("b", apart(&[1, 2], b))];
        check(&pair(Scope::Host, Scope::Host), Some("keeps apart"));
        check(&pair(Scope::Host, rack()), Some("keeps apart"));
        check(&pair(rack(), Scope::Host), None);
        let spread = PlacementKind::Spread { guests: guests(&[1, 2]), scope: rack(), least: 2 };
        check(&[rule("a", together(&[1, 2], rack())), rule("b", spread)], Some("spreads"));
    }
}
