//! Waking a host before the active ones run out of reserve.

use super::Parameters;
use super::drain::hosts_needed;
use super::scratch::Scratch;

/// Wakes one host when the whole load, evenly spread, would leave the active hosts with less than
/// `wake_sigmas` standard deviations of reserve, and hands it the largest guests of the fullest hosts
/// as long as it stays below the average. Returns whether it did.
pub(super) fn spread(scratch: &mut Scratch<'_>, parameters: &Parameters) -> bool {
    let active = scratch.active();
    let total = scratch.total(&active);
    let each = total.capacity / active.len().max(1) as f64;
    let needed = hosts_needed(total.mean, total.variance, parameters.wake_sigmas, each);
    if active.is_empty() || needed <= active.len() as f64 {
        return false;
    }
    let Some(to) = scratch.best_idle() else { return false };
    fill(scratch, &active, to, parameters)
}

/// Hands `to` the largest guests of the fullest of the `active` hosts as long as it stays below
/// the average. Returns whether it got any.
pub(super) fn fill(
    scratch: &mut Scratch<'_>,
    active: &[usize],
    to: usize,
    parameters: &Parameters,
) -> bool {
    let total = scratch.total(active);
    let share = total.mean / (total.capacity + scratch.view.hosts[to].capacity);
    let mut moved = false;
    for _ in 0..parameters.wake_moves {
        let Some(guest) = largest_of_fullest(scratch, active, to, share) else { break };
        scratch.shift(guest, to);
        moved = true;
    }
    moved
}

/// The guest with the highest expected demand that `to` can take without exceeding `share` of its
/// capacity, from the fullest host that has one and is itself above that share.
fn largest_of_fullest(
    scratch: &Scratch<'_>,
    active: &[usize],
    to: usize,
    share: f64,
) -> Option<usize> {
    let load = |host: usize| scratch.slots[host].mean / scratch.view.hosts[host].capacity;
    let mean = |guest: usize| scratch.demand[guest].mean;
    let room = share * scratch.view.hosts[to].capacity - scratch.slots[to].mean;
    let mut sources: Vec<usize> = active.iter().copied().filter(|&h| load(h) > share).collect();
    sources.sort_by(|&a, &b| load(b).total_cmp(&load(a)));
    sources.into_iter().find_map(|source| {
        let guests = scratch.slots[source].guests.iter().copied();
        guests
            .filter(|&guest| mean(guest) <= room && scratch.has_room(to, guest))
            .max_by(|&a, &b| mean(a).total_cmp(&mean(b)))
    })
}
