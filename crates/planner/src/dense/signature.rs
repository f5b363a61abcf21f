//! Which hosts each unit may use, found once for all that are alike.
//!
//! Constraints that look at a guest and a host alone answer alike for guests and hosts
//! with equal features, so one pair of each kind is asked: 100,000 guests on 10,000 hosts
//! have a few hundred kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use drover_model::{DiskSource, GuestId, GuestView, HostId, HostView, NicSource, Reading};
use drover_rules::{
    PlacementKind, PlacementRule, Projection, Strength, allows_statically, why_not_copied,
};

use crate::Policy;
use crate::search::{Class, index};

/// Units that are of one class: kinds of their guests, rules that name hosts, and guests that a
/// check has refused somewhere.
type Alike = (Vec<usize>, Vec<usize>, Vec<GuestId>);

/// The class of each unit, and the classes.
pub(super) fn classes(
    projection: &Projection<'_>,
    policy: &Policy,
    hosts: &[HostId],
    units: &[Vec<GuestId>],
    fixed: &[bool],
) -> (Vec<u32>, Vec<Class>) {
    let mut kinds = Kinds::of(projection, policy, hosts);
    let rules_of = rules_by_guest(&policy.placement.rules);
    let mut numbers: BTreeMap<Alike, u32> = BTreeMap::new();
    let mut classes: Vec<Class> = Vec::new();
    let mut class = Vec::with_capacity(units.len());
    for (unit, fixed) in units.iter().zip(fixed) {
        // A unit that stays needs no answer.
        let mut of: Vec<usize> = if *fixed {
            Vec::new()
        } else {
            unit.iter().map(|guest| kinds.of_guest(*guest)).collect()
        };
        of.sort_unstable();
        of.dedup();
        let mut rules: Vec<usize> = unit
            .iter()
            .flat_map(|guest| rules_of.get(guest).into_iter().flatten().copied())
            .collect();
        rules.sort_unstable();
        rules.dedup();
        // What a check found is about this very guest and host, however alike others are.
        let refused = |guest: &&GuestId| policy.placement.refused.contains_key(guest);
        let refused: Vec<GuestId> = unit.iter().filter(refused).copied().collect();
        let next = index(classes.len());
        let at = *numbers.entry((of.clone(), rules.clone(), refused.clone())).or_insert(next);
        if at == next {
            classes.push(kinds.class(&of, &rules, &refused));
        }
        class.push(at);
    }
    (class, classes)
}

/// Numbers of the rules that name hosts, by guest.
fn rules_by_guest(rules: &[PlacementRule]) -> BTreeMap<GuestId, Vec<usize>> {
    let mut of: BTreeMap<GuestId, Vec<usize>> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        if matches!(rule.kind, PlacementKind::On { .. } | PlacementKind::NotOn { .. }) {
            for guest in rule.guests() {
                of.entry(*guest).or_default().push(number);
            }
        }
    }
    of
}

struct Kinds<'a> {
    projection: &'a Projection<'a>,
    policy: &'a Policy,
    hosts: &'a [HostId],
    /// Kind of each host, and a host of each kind.
    kind_of_host: Vec<usize>,
    hosts_of_kind: Vec<&'a HostView>,
    /// Directories that hosts declare as shared.
    roots: BTreeSet<&'a str>,
    guests: BTreeMap<String, usize>,
    /// Kinds of hosts that each kind of guest may use.
    allowed: Vec<Vec<bool>>,
}

impl<'a> Kinds<'a> {
    fn of(projection: &'a Projection<'a>, policy: &'a Policy, hosts: &'a [HostId]) -> Self {
        let view = projection.view();
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let mut hosts_of_kind = Vec::new();
        let kind_of_host = hosts
            .iter()
            .map(|host| {
                let seen = &view.hosts[host];
                let draining = policy.placement.draining.contains(host);
                let next = kinds.len();
                let kind = *kinds.entry(host_signature(seen, draining)).or_insert(next);
                if kind == next {
                    hosts_of_kind.push(seen);
                }
                kind
            })
            .collect();
        let roots = view
            .hosts
            .values()
            .flat_map(|host| &host.host.capabilities.shared_paths)
            .map(String::as_str)
            .collect();
        Self {
            projection,
            policy,
            hosts,
            kind_of_host,
            hosts_of_kind,
            roots,
            guests: BTreeMap::new(),
            allowed: Vec::new(),
        }
    }

    /// The kind of a guest; hosts are asked when it is new.
    fn of_guest(&mut self, guest: GuestId) -> usize {
        let view = self.projection.view();
        let seen = &view.guests[&guest];
        let source = self.hosts.binary_search(&seen.guest.host).map(|n| self.kind_of_host[n]);
        let signature = format!("{source:?} {}", guest_signature(seen, &self.roots));
        let next = self.allowed.len();
        let kind = *self.guests.entry(signature).or_insert(next);
        if kind == next {
            let ask = |host: &&HostView| {
                allows_statically(self.projection, &self.policy.placement, seen, host)
            };
            self.allowed.push(self.hosts_of_kind.iter().map(ask).collect());
        }
        kind
    }

    /// Hosts that all these kinds of guests may use under these rules, and none of the guests
    /// named was refused at.
    fn class(&self, kinds: &[usize], rules: &[usize], refused: &[GuestId]) -> Class {
        let placement = &self.policy.placement;
        let view = self.projection.view();
        let forbids = |guest: &GuestId, host: HostId| {
            let known = placement.refused.get(guest);
            let at_home = self.projection.host_of(*guest) == Some(host);
            !at_home && known.is_some_and(|known| known.forbids(view, placement, host))
        };
        let rules: Vec<&PlacementRule> = rules.iter().map(|rule| &placement.rules[*rule]).collect();
        let mut class = Class { allowed: Vec::new(), dislike: Vec::new() };
        let targets = &placement.target_hosts;
        for (number, host) in self.hosts.iter().enumerate() {
            let kind = self.kind_of_host[number];
            let mut allowed = kinds.iter().all(|guest| self.allowed[*guest][kind])
                && (targets.is_empty() || targets.contains(host))
                && !refused.iter().any(|guest| forbids(guest, *host));
            let mut dislike = 0.0;
            for rule in &rules {
                let broken = match &rule.kind {
                    PlacementKind::On { hosts, .. } => !hosts.contains(host),
                    PlacementKind::NotOn { hosts, .. } => hosts.contains(host),
                    _ => false,
                };
                match rule.strength {
                    _ if !broken => {}
                    Strength::Required => {
                        allowed = false;
                        dislike += crate::search::BROKEN;
                    }
                    Strength::Preferred(weight) => dislike += weight,
                }
            }
            class.allowed.push(allowed);
            class.dislike.push(dislike);
        }
        if class.dislike.iter().all(|cost| *cost == 0.0) {
            class.dislike.clear();
        }
        class
    }
}

/// All of a host that a constraint looks at, but for its load.
fn host_signature(seen: &HostView, draining: bool) -> String {
    let host = &seen.host;
    let of = &host.capabilities;
    let reach = (host.peer_uri.is_empty(), host.migration_address.is_empty());
    let measured: Vec<bool> =
        seen.readings.values().map(|reading| matches!(reading, Reading::Known { .. })).collect();
    format!(
        "{:?} {reach:?} {draining} {measured:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        host.state, of.cpu, of.virt_types, of.machine_types, of.pools, of.networks, of.shared_paths
    )
}

/// All of a guest that a constraint looks at, with paths reduced to the shared directories
/// that they are below.
fn guest_signature(seen: &GuestView, roots: &BTreeSet<&str>) -> String {
    let guest = &seen.guest;
    let below = |path: &str| -> Vec<&str> {
        roots.iter().copied().filter(|root| Path::new(path).starts_with(root)).collect()
    };
    let mut disks: Vec<String> = guest
        .disks
        .iter()
        .map(|disk| match &disk.source {
            DiskSource::File { path } => {
                let copied = (disk.readonly, why_not_copied(disk).is_none());
                format!("{:?} {copied:?}", below(path))
            }
            DiskSource::Block { path } => format!("{:?}", below(path)),
            DiskSource::Volume { pool, .. } => format!("pool {pool}"),
            DiskSource::Network { .. } | DiskSource::Empty => String::new(),
        })
        .collect();
    disks.sort_unstable();
    disks.dedup();
    let mut networks: Vec<&NicSource> = guest.nics.iter().map(|nic| &nic.source).collect();
    networks.dedup();
    let measured: Vec<bool> =
        seen.readings.values().map(|reading| matches!(reading, Reading::Known { .. })).collect();
    format!(
        "{} {} {} {} {:?} {disks:?} {networks:?} {measured:?}",
        guest.arch, guest.virt_type, guest.machine, guest.cpu_mode, guest.cpu_model
    )
}
