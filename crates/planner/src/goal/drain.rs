//! Empty hosts: their guests alone where that does, others too where it needs must.

use std::collections::BTreeSet;

use drover_model::{ClusterView, GuestId, HostId};
use drover_rules::{Initiative, PlacementPolicy, Projection};
use rand::Rng;

use super::Outcome;
use crate::arrange::{Arranged, names};
use crate::candidate::{guest_refusals, targets};
use crate::dense::Dense;
use crate::improve::{Quest, find};
use crate::objective::{even, price_moves};
use crate::report::{PlanReport, RefusedMove};
use crate::search::Limits;
use crate::{Budget, Policy};

/// Cost of each guest that stays on a host that is to be empty: more than any imbalance.
const STAYS: f64 = 100.0;
/// Price of moving all other guests once.
const PRICE: f64 = 1.0;

pub(crate) fn drain(
    view: &ClusterView,
    policy: &Policy,
    hosts: &[HostId],
    budget: &Budget,
    rng: &mut impl Rng,
) -> Outcome {
    let mut policy = policy.clone();
    policy.placement.draining.extend(hosts);
    let why = "its host is to be emptied";
    let (arranged, left) = place_all(view, &policy, hosts, budget, why, rng);
    let refused = why_left(view, &policy, &left);
    let total = view.guests.values().filter(|guest| hosts.contains(&guest.guest.host)).count();
    let summary = if left.is_empty() {
        format!("{total} guest(s) leave with {} move(s)", arranged.moves())
    } else {
        format!("{} of {total} guest(s) cannot leave: {}", left.len(), names(view, &left))
    };
    let (batches, report) = arranged.reported(summary);
    (batches, PlanReport { refused, unplaced: left, ..report })
}

/// Finds new places for the guests of hosts, and which of them have none.
pub(super) fn place_all(
    view: &ClusterView,
    policy: &Policy,
    hosts: &[HostId],
    budget: &Budget,
    why: &str,
    rng: &mut impl Rng,
) -> (Arranged, Vec<GuestId>) {
    let leaving: BTreeSet<GuestId> = view
        .guests
        .values()
        .filter(|guest| hosts.contains(&guest.guest.host))
        .map(|guest| guest.guest.id)
        .collect();
    let alone = attempt(view, policy, hosts, &leaving, false, budget, why, rng);
    if alone.1.is_empty() {
        return alone;
    }
    let together = attempt(view, policy, hosts, &leaving, true, budget, why, rng);
    if together.1.len() < alone.1.len() { together } else { alone }
}

#[expect(clippy::too_many_arguments, reason = "two attempts of one function")]
fn attempt(
    view: &ClusterView,
    policy: &Policy,
    hosts: &[HostId],
    leaving: &BTreeSet<GuestId>,
    others_too: bool,
    budget: &Budget,
    why: &str,
    rng: &mut impl Rng,
) -> (Arranged, Vec<GuestId>) {
    // Nobody asked for those that would make room.
    let unasked = PlacementPolicy { initiative: Initiative::Own, ..policy.placement.clone() };
    let projection = Projection::of(view);
    let makes_room = |guest| others_too && guest_refusals(&projection, &unasked, guest).is_empty();
    let mut dense = Dense::of(view, policy, &|guest| leaving.contains(&guest) || makes_room(guest));
    even(&mut dense, view, policy);
    price_moves(&mut dense, view, policy, PRICE);
    let shun = dense.hosts.iter().map(|host| if hosts.contains(host) { STAYS } else { 0.0 });
    dense.instance.objective.shun = shun.collect();
    let start = first_fit(&dense);
    let quest = Quest { view, policy, budget, limits: Limits::NONE, why };
    let (arranged, at) = find(&mut dense, &start, quest, rng);
    let left = dense
        .units
        .iter()
        .zip(&at)
        .filter(|(_, host)| hosts.contains(&dense.hosts[**host as usize]))
        .flat_map(|(guests, _)| guests.iter().copied())
        .chain(arranged.stuck.iter().copied())
        .filter(|guest| leaving.contains(guest) && view.guests[guest].guest.state.is_active())
        .collect();
    (arranged, left)
}

/// The large ones first, each to where it costs least: a start from which the search only
/// has to improve.
fn first_fit(dense: &Dense) -> Vec<u32> {
    use crate::search::State;
    let instance = &dense.instance;
    let mut state = State::at_home(instance);
    let mut leaving: Vec<usize> = (0..instance.guests())
        .filter(|unit| {
            let home = instance.home[*unit] as usize;
            !instance.fixed[*unit] && instance.objective.shun[home] > 0.0
        })
        .collect();
    leaving.sort_by(|a, b| {
        let bytes = &instance.objective.bytes;
        bytes[*b].total_cmp(&bytes[*a]).then(a.cmp(b))
    });
    for unit in leaving {
        let best = (0..instance.hosts())
            .filter_map(|host| Some((state.shift_delta(unit, host)?, host)))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if let Some((delta, host)) = best {
            state.shift(unit, host, delta);
        }
    }
    state.assignment().to_vec()
}

/// Every reason against every host, for the guests that stay.
fn why_left(view: &ClusterView, policy: &Policy, left: &[GuestId]) -> Vec<RefusedMove> {
    let projection = Projection::of(view);
    left.iter()
        .flat_map(|guest| {
            let own = guest_refusals(&projection, &policy.placement, *guest);
            let of_hosts = targets(&projection, &policy.placement, *guest).1;
            own.into_iter().chain(of_hosts)
        })
        .collect()
}
