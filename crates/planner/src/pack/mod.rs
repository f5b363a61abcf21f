//! A place for every guest: which hosts take guests that have none yet.
//!
//! The other searches begin with an assignment and make it cheaper. Here there is none, and
//! the one question is whether all fit at once, in every resource and only on hosts that
//! may take them. In this order, the first answer counts:
//!
//! 1. `bound`: a guest that fits no empty host, or guests that together need more than the
//!    hosts that may take them have: proof that there is no placement.
//! 2. `fit`: first fit, the largest guests first, then those with the fewest hosts first.
//! 3. `eject`: who has no place takes one from guests that find another more easily.
//! 4. `exact`: every placement in turn, where guests are few.
//!
//! A guest without a place is an error that names it; no host stands for "nowhere".

mod bound;
mod eject;
mod exact;
mod fit;
mod room;
#[cfg(test)]
mod tests;

use room::Room;

/// What there is to place, and where it may go. Tables are flat, as in
/// [`crate::search::Instance`].
#[derive(Debug, Clone, Default)]
pub struct Packing {
    /// Number of resources.
    pub resources: usize,
    /// What each resource is called, with its unit.
    pub names: Vec<&'static str>,
    /// What each guest needs of each resource.
    pub need: Vec<f64>,
    /// What each host has left of each resource.
    pub room: Vec<f64>,
    /// The kind of each guest: guests of one kind may go to the same hosts.
    pub kind: Vec<usize>,
    /// Whether each host takes guests of a kind, by kind and host.
    pub allowed: Vec<Vec<bool>>,
    /// Hosts in the order in which they should be filled.
    pub order: Vec<usize>,
}

impl Packing {
    /// Number of guests.
    pub const fn guests(&self) -> usize {
        self.kind.len()
    }

    /// Number of hosts.
    pub const fn hosts(&self) -> usize {
        self.order.len()
    }

    /// What a guest needs.
    pub fn need_of(&self, guest: usize) -> &[f64] {
        &self.need[guest * self.resources..][..self.resources]
    }

    /// Whether a host may take a guest, whatever it has left.
    pub fn allows(&self, guest: usize, host: usize) -> bool {
        self.allowed[self.kind[guest]][host]
    }
}

/// A guest that has no place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("guest {guest} has no host: {why}")]
pub struct Unplaced {
    /// Its number.
    pub guest: usize,
    /// What speaks against it.
    pub why: Why,
}

/// Why a guest has no place. All but [`Why::NotFound`] are proofs that there is none.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Why {
    /// No host may take guests of its kind.
    #[error("no host may take it")]
    NotAllowed,
    /// No host that may take it has as much room, were it the only guest.
    #[error("none of the {hosts} host(s) that may take it has the room")]
    TooLarge {
        /// Hosts that may take it.
        hosts: usize,
    },
    /// Guests that only certain hosts may take need more than these have.
    #[error(
        "it and {others} other guest(s) for the same {hosts} host(s) need {need} {resource} \
         where {room} is free"
    )]
    Crowded {
        /// The other guests.
        others: usize,
        /// The hosts that may take any of them.
        hosts: usize,
        /// The resource, with its unit.
        resource: &'static str,
        /// What all of them need of it.
        need: f64,
        /// What these hosts have left of it.
        room: f64,
    },
    /// Every placement was tried.
    #[error("no placement of all guests exists: each was tried")]
    Exhausted,
    /// None was found by so many steps of search; there may be one.
    #[error("no placement of all guests was found in {steps} steps of search")]
    NotFound {
        /// Steps.
        steps: u64,
    },
}

/// So few guests are placed by trying everything.
const FEW: usize = 24;
/// Looks at a host for them, at most: each asks for its room or compares it with another.
const LOOKS: u64 = 50_000_000;

/// A host for every guest. `steps` limits the search: one step looks at one way to make
/// room for one guest. The same arguments give the same answer.
///
/// # Errors
///
/// The guest that is hardest to place, when no placement exists or none was found.
pub fn pack(packing: &Packing, steps: u64) -> Result<Vec<usize>, Unplaced> {
    bound::refuse(packing)?;
    let fits = [fit::largest_first(packing), fit::scarcest_first(packing)];
    let mut best: Option<Room<'_>> = None;
    for order in fits {
        let room = fit::first_fit(packing, &order);
        if room.unplaced().is_empty() {
            return Ok(room.placed());
        }
        if best.as_ref().is_none_or(|best| room.unplaced().len() < best.unplaced().len()) {
            best = Some(room);
        }
    }
    let start = best.unwrap_or_else(|| Room::of(packing));
    let failed = match eject::place(start, steps) {
        Ok(places) => return Ok(places),
        Err(unplaced) => unplaced,
    };
    if packing.guests() > FEW {
        return Err(failed);
    }
    match exact::place(packing, LOOKS) {
        exact::Answer::Placed(places) => Ok(places),
        exact::Answer::None => Err(Unplaced { why: Why::Exhausted, ..failed }),
        exact::Answer::Unknown => Err(failed),
    }
}
