//! Proofs that there is no placement, by sums alone.

use super::fit::count;
use super::room::{ROUNDING, Room};
use super::{Packing, Unplaced, Why};

/// Refuses what cannot be placed for a reason that is easy to see.
pub(super) fn refuse(packing: &Packing) -> Result<(), Unplaced> {
    let empty = Room::of(packing);
    for guest in 0..packing.guests() {
        let hosts = count(&packing.allowed[packing.kind[guest]]);
        if hosts == 0 {
            return Err(Unplaced { guest, why: Why::NotAllowed });
        }
        if !(0..packing.hosts()).any(|host| empty.takes(host, guest)) {
            return Err(Unplaced { guest, why: Why::TooLarge { hosts } });
        }
    }
    let mut kinds: Vec<usize> = (0..packing.allowed.len()).collect();
    kinds.sort_by_key(|kind| count(&packing.allowed[*kind]));
    kinds.into_iter().try_for_each(|kind| crowded(packing, kind))
}

/// Guests that may go to no other hosts than those of a kind, against what these have.
fn crowded(packing: &Packing, kind: usize) -> Result<(), Unplaced> {
    /// Parts of a sum that are rounding.
    const PARTS: f64 = 1e-9;
    let hosts = &packing.allowed[kind];
    let is_within = |other: &Vec<bool>| other.iter().zip(hosts).all(|(other, own)| !other || *own);
    let within: Vec<bool> = packing.allowed.iter().map(is_within).collect();
    let guests: Vec<usize> =
        (0..packing.guests()).filter(|guest| within[packing.kind[*guest]]).collect();
    for resource in 0..packing.resources {
        let need: f64 = guests.iter().map(|guest| packing.need_of(*guest)[resource]).sum();
        let room: f64 = (0..packing.hosts())
            .filter(|host| hosts[*host])
            .map(|host| packing.room[host * packing.resources + resource].max(0.0))
            .sum();
        let largest = guests.iter().copied().max_by(|a, b| {
            let need = |guest: &usize| packing.need_of(*guest)[resource];
            need(a).total_cmp(&need(b)).then(b.cmp(a))
        });
        // Each of them may exceed what is left by rounding.
        let slack = room * PARTS + guests.len() as f64 * ROUNDING;
        if let Some(guest) = largest.filter(|_| need > room + slack) {
            let (others, hosts) = (guests.len() - 1, count(hosts));
            let resource = packing.names[resource];
            let why = Why::Crowded { others, hosts, resource, need, room };
            return Err(Unplaced { guest, why });
        }
    }
    Ok(())
}
