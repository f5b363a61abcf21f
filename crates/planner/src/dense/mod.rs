//! The cluster view as the search engine sees it, and back.
//!
//! Guests that must stay together are one unit; the engine's "guests" are units. Columns:
//! CPU in cores, memory in bytes, promised memory in bytes (only with an overcommit ratio),
//! then the policy's named resources.

mod capacity;
mod laws;
mod signature;

use std::collections::{BTreeMap, BTreeSet};

use drover_model::{ClusterView, GuestId, HostId};
use drover_rules::{PlacementKind, PlacementPolicy, Projection, Scope, check_movable, domain_of};

use crate::Policy;
use crate::search::{Instance, Objective, index};

pub(crate) use capacity::{CPU, MEMORY};

/// An instance with the names of its numbers.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) instance: Instance,
    pub(crate) hosts: Vec<HostId>,
    /// Guests of each unit; most have one.
    pub(crate) units: Vec<Vec<GuestId>>,
}

/// Which units a goal lets move.
pub(crate) type MayMove<'a> = dyn Fn(GuestId) -> bool + 'a;

impl Dense {
    /// States the view under the policy with no objective yet. Units move only where every
    /// guest `may_move` and no constraint says no.
    pub(crate) fn of(view: &ClusterView, policy: &Policy, may_move: &MayMove<'_>) -> Self {
        let projection = Projection::of(view);
        let hosts: Vec<HostId> = view.hosts.keys().copied().collect();
        let numbers: BTreeMap<HostId, u32> =
            hosts.iter().enumerate().map(|(n, host)| (*host, index(n))).collect();
        let units = units(view, &policy.placement, &numbers);
        let home: Vec<u32> =
            units.iter().map(|unit| numbers[&view.guests[&unit[0]].guest.host]).collect();
        let fixed: Vec<bool> = units
            .iter()
            .map(|unit| {
                unit.iter().any(|guest| {
                    !may_move(*guest)
                        || !check_movable(&projection, &policy.placement, *guest).is_empty()
                })
            })
            .collect();
        let columns = capacity::Columns::of(&projection, policy, &hosts, &units, &home);
        let (class, classes) = signature::classes(&projection, policy, &hosts, &units, &fixed);
        let (groups, member_of, domains) = laws::groups(&policy.placement, &hosts, &units);
        let instance = Instance {
            resources: columns.resources,
            lingers: columns.lingers,
            capacity: columns.capacity,
            base: columns.base,
            closed: hosts.iter().map(|host| policy.placement.draining.contains(host)).collect(),
            domains,
            demand: columns.demand,
            home,
            fixed,
            class,
            classes,
            groups,
            member_of,
            objective: Objective { bytes: columns.bytes, ..Objective::default() },
        };
        Self { instance, hosts, units }
    }
}

/// Guests on known hosts; those that a required rule holds together on one host, and that
/// are together, as one.
fn units(
    view: &ClusterView,
    policy: &PlacementPolicy,
    hosts: &BTreeMap<HostId, u32>,
) -> Vec<Vec<GuestId>> {
    let mut leader: BTreeMap<GuestId, GuestId> = BTreeMap::new();
    for rule in policy.rules.iter().filter(|rule| rule.is_required()) {
        let PlacementKind::Together { guests, scope: Scope::Host } = &rule.kind else { continue };
        let here: Vec<GuestId> =
            guests.iter().copied().filter(|guest| view.guests.contains_key(guest)).collect();
        let homes: BTreeSet<String> = here
            .iter()
            .map(|guest| domain_of(&policy.labels, &Scope::Host, view.guests[guest].guest.host))
            .collect();
        if homes.len() == 1 {
            let first = here.iter().map(|guest| *leader.get(guest).unwrap_or(guest)).min();
            for guest in here {
                leader.extend(first.map(|first| (guest, first)));
            }
        }
    }
    let mut units: BTreeMap<GuestId, Vec<GuestId>> = BTreeMap::new();
    for (id, guest) in &view.guests {
        if hosts.contains_key(&guest.guest.host) {
            units.entry(*leader.get(id).unwrap_or(id)).or_default().push(*id);
        }
    }
    units.into_values().collect()
}
