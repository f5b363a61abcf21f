//! First fit in several orders.

use super::Packing;
use super::room::{Room, sizes};

/// The largest guests first.
pub(super) fn largest_first(packing: &Packing) -> Vec<usize> {
    let size = sizes(packing);
    let mut order: Vec<usize> = (0..packing.guests()).collect();
    order.sort_by(|&a, &b| size[b].total_cmp(&size[a]));
    order
}

/// Those whose kind has the fewest hosts first, the largest of these first: what only few
/// hosts may take must not find them filled with what could be anywhere.
pub(super) fn scarcest_first(packing: &Packing) -> Vec<usize> {
    let hosts: Vec<usize> = packing.allowed.iter().map(|of| count(of)).collect();
    let mut order = largest_first(packing);
    order.sort_by_key(|guest| hosts[packing.kind[*guest]]);
    order
}

/// Each guest in turn to the first host that takes it; some may stay nowhere.
pub(super) fn first_fit<'a>(packing: &'a Packing, order: &[usize]) -> Room<'a> {
    let mut room = Room::of(packing);
    for guest in order {
        if let Some(host) = packing.order.iter().find(|host| room.takes(**host, *guest)) {
            room.put(*guest, *host);
        }
    }
    room
}

/// Number of hosts that are allowed.
pub(super) fn count(allowed: &[bool]) -> usize {
    allowed.iter().filter(|allowed| **allowed).count()
}
