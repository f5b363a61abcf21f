//! A placement in the making: who is where, and what each host has left.

use super::Packing;

/// A guest may exceed what is left by rounding only, in the unit of the resource.
pub(super) const ROUNDING: f64 = 1e-6;

/// Guests on hosts, some of them nowhere yet.
#[derive(Debug, Clone)]
pub(super) struct Room<'a> {
    pub(super) packing: &'a Packing,
    left: Vec<f64>,
    pub(super) on: Vec<Vec<usize>>,
    at: Vec<Option<usize>>,
}

impl<'a> Room<'a> {
    /// Nobody is anywhere.
    pub(super) fn of(packing: &'a Packing) -> Self {
        Self {
            packing,
            left: packing.room.clone(),
            on: vec![Vec::new(); packing.hosts()],
            at: vec![None; packing.guests()],
        }
    }

    pub(super) fn left(&self, host: usize) -> &[f64] {
        &self.left[host * self.packing.resources..][..self.packing.resources]
    }

    pub(super) fn host_of(&self, guest: usize) -> Option<usize> {
        self.at[guest]
    }

    /// Whether a guest may go to a host, and the host has the room.
    pub(super) fn takes(&self, host: usize, guest: usize) -> bool {
        self.takes_without(host, guest, &[])
    }

    /// [`Self::takes`], once the guests `leaving` have left the host.
    pub(super) fn takes_without(&self, host: usize, guest: usize, leaving: &[usize]) -> bool {
        let packing = self.packing;
        packing.allows(guest, host)
            && packing.need_of(guest).iter().zip(self.left(host)).enumerate().all(
                |(resource, (need, left))| {
                    let freed: f64 =
                        leaving.iter().map(|other| packing.need_of(*other)[resource]).sum();
                    *need <= left + freed + ROUNDING
                },
            )
    }

    pub(super) fn put(&mut self, guest: usize, host: usize) {
        self.book(guest, host, -1.0);
        self.on[host].push(guest);
        self.at[guest] = Some(host);
    }

    /// Takes a guest off its host.
    pub(super) fn take(&mut self, guest: usize) {
        if let Some(host) = self.at[guest].take() {
            self.book(guest, host, 1.0);
            self.on[host].retain(|other| *other != guest);
        }
    }

    fn book(&mut self, guest: usize, host: usize, sign: f64) {
        let r = self.packing.resources;
        let left = &mut self.left[host * r..][..r];
        for (left, need) in left.iter_mut().zip(self.packing.need_of(guest)) {
            *left += sign * need;
        }
    }

    /// Guests that are nowhere.
    pub(super) fn unplaced(&self) -> Vec<usize> {
        (0..self.at.len()).filter(|guest| self.at[*guest].is_none()).collect()
    }

    /// The host of every guest; called once none is nowhere.
    pub(super) fn placed(&self) -> Vec<usize> {
        let placed: Vec<usize> = self.at.iter().flatten().copied().collect();
        debug_assert_eq!(placed.len(), self.at.len(), "every guest has a place");
        placed
    }
}

/// The size of a guest: the largest part that it needs of what all hosts have of a resource.
pub(super) fn sizes(packing: &Packing) -> Vec<f64> {
    let r = packing.resources;
    let mut all = vec![0.0; r];
    for room in packing.room.chunks(r.max(1)) {
        for (all, room) in all.iter_mut().zip(room) {
            *all += room.max(0.0);
        }
    }
    let size = |guest: usize| {
        let parts = packing.need_of(guest).iter().zip(&all);
        parts.filter(|(_, all)| **all > 0.0).map(|(need, all)| need / all).fold(0.0, f64::max)
    };
    (0..packing.guests()).map(size).collect()
}
