//! Every placement in turn, for few guests.

use super::Packing;
use super::fit::scarcest_first;
use super::room::Room;

/// What trying everything told.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// A host for every guest.
    Placed(Vec<usize>),
    /// There is no placement.
    None,
    /// There were too many to try all.
    Unknown,
}

/// Tries placements in turn; at most so many looks at a host are taken for it.
pub(super) fn place(packing: &Packing, looks: u64) -> Answer {
    let order = scarcest_first(packing);
    let mut tree = Tree { room: Room::of(packing), order, looks, twins: twins(packing) };
    if tree.descend(0) {
        Answer::Placed(tree.room.placed())
    } else if tree.looks == 0 {
        Answer::Unknown
    } else {
        Answer::None
    }
}

struct Tree<'a> {
    room: Room<'a>,
    order: Vec<usize>,
    /// That are left.
    looks: u64,
    /// Hosts with the same number may take the same kinds of guests.
    twins: Vec<usize>,
}

impl Tree<'_> {
    /// Places the guests from this one on.
    fn descend(&mut self, depth: usize) -> bool {
        let Some(guest) = self.order.get(depth).copied() else { return true };
        let packing = self.room.packing;
        for at in 0..packing.order.len() {
            let host = packing.order[at];
            if self.looks == 0 {
                return false;
            }
            self.looks -= 1;
            if !self.room.takes(host, guest) {
                continue;
            }
            // Of hosts that do not differ one is enough.
            let before = &packing.order[..at];
            let alike = before.iter().position(|other| self.do_not_differ(*other, host));
            let compared = alike.map_or(at, |found| found + 1);
            let compared = u64::try_from(compared).unwrap_or(u64::MAX);
            self.looks = self.looks.saturating_sub(compared);
            if alike.is_some() {
                continue;
            }
            self.room.put(guest, host);
            if self.descend(depth + 1) {
                return true;
            }
            self.room.take(guest);
        }
        false
    }

    // What differs by rounding alone is tried twice.
    fn do_not_differ(&self, one: usize, other: usize) -> bool {
        self.twins[one] == self.twins[other] && self.room.left(one) == self.room.left(other)
    }
}

/// For each host the first that may take the same kinds.
fn twins(packing: &Packing) -> Vec<usize> {
    let same = |a: usize, b: usize| packing.allowed.iter().all(|of| of[a] == of[b]);
    (0..packing.hosts())
        .map(|host| (0..host).find(|other| same(*other, host)).unwrap_or(host))
        .collect()
}
