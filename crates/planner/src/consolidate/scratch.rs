//! A scratch assignment of guests to hosts with the load each host would have.

use super::estimate::Demand;
use super::{LoadMove, LoadView};

/// A host in the scratch assignment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot {
    /// guests assigned.
    pub guests: Vec<usize>,
    /// Demand now, compute units.
    pub now: f64,
    /// Expected demand, compute units.
    pub mean: f64,
    /// Variance of the demand, compute units squared.
    pub variance: f64,
    /// Memory left, MB.
    pub free_mb: f64,
}

/// Sums over several hosts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Total {
    /// CPU capacity, compute units.
    pub capacity: f64,
    /// Expected demand, compute units.
    pub mean: f64,
    /// Variance of the demand, compute units squared.
    pub variance: f64,
}

/// The assignment.
#[derive(Debug, Clone)]
pub(crate) struct Scratch<'a> {
    /// The facts.
    pub view: &'a LoadView,
    /// What is expected of each guest.
    pub demand: Vec<Demand>,
    /// Hosts by identifier.
    pub slots: Vec<Slot>,
    /// Planned host of each guest.
    places: Vec<Option<usize>>,
    /// Hosts that may be given guests and looked at; all where it is empty.
    open: Vec<bool>,
}

impl<'a> Scratch<'a> {
    /// The assignment in force. Missing estimates count as no demand.
    pub(crate) fn new(view: &'a LoadView, mut demand: Vec<Demand>) -> Self {
        demand.resize(view.guests.len(), Demand::default());
        let slots =
            view.hosts.iter().map(|host| Slot { free_mb: host.memory_mb, ..Slot::default() });
        let mut scratch = Self {
            view,
            demand,
            slots: slots.collect(),
            places: vec![None; view.guests.len()],
            open: Vec::new(),
        };
        for (host, facts) in view.hosts.iter().enumerate() {
            for &guest in &facts.guests {
                scratch.shift(guest, host);
            }
        }
        scratch
    }

    /// The same, with hosts that are not open neither relieved nor given guests.
    pub(crate) fn limited_to(self, open: Vec<bool>) -> Self {
        Self { open, ..self }
    }

    /// Assigns `guest` to `host`.
    pub(crate) fn shift(&mut self, guest: usize, host: usize) {
        if let Some(old) = self.places[guest].replace(host) {
            self.slots[old].guests.retain(|other| *other != guest);
            self.recount(old);
        }
        self.slots[host].guests.push(guest);
        self.recount(host);
    }

    /// Sums the load of `host` afresh, so that moves back and forth leave no rounding behind.
    fn recount(&mut self, host: usize) {
        let slot = &mut self.slots[host];
        (slot.now, slot.mean, slot.variance) = (0.0, 0.0, 0.0);
        slot.free_mb = self.view.hosts[host].memory_mb;
        for &guest in &slot.guests {
            let demand = self.demand[guest];
            slot.now += demand.now;
            slot.mean += demand.mean;
            slot.variance += demand.variance;
            slot.free_mb -= self.view.guests[guest].memory_mb;
        }
    }

    /// Whether memory and core speed of `host` allow `guest`.
    pub(crate) fn has_room(&self, host: usize, guest: usize) -> bool {
        let (facts, guest) = (&self.view.hosts[host], &self.view.guests[guest]);
        facts.core >= guest.size && self.slots[host].free_mb >= guest.memory_mb
    }

    /// Capacity left on `host` if `guest` joined, after `sigmas` standard deviations of reserve, as a
    /// part of capacity. Negative when the reserve is not met.
    fn reserve_with(&self, host: usize, guest: usize, sigmas: f64) -> f64 {
        let (slot, demand) = (&self.slots[host], &self.demand[guest]);
        let mean = slot.mean + demand.mean;
        let deviation = (slot.variance + demand.variance).sqrt();
        1.0 - (mean + sigmas * deviation) / self.view.hosts[host].capacity
    }

    /// The host among `targets` with the largest reserve left after taking `guest`. It must have
    /// room, stay within `ceiling` of its capacity by demand now, and keep `sigmas` standard
    /// deviations of reserve by expected demand.
    pub(crate) fn roomiest(
        &self,
        guest: usize,
        targets: &[usize],
        ceiling: f64,
        sigmas: f64,
    ) -> Option<usize> {
        let now = |host: usize| self.slots[host].now + self.demand[guest].now;
        targets
            .iter()
            .copied()
            .filter(|&host| self.has_room(host, guest))
            .filter(|&host| now(host) <= ceiling * self.view.hosts[host].capacity)
            .map(|host| (self.reserve_with(host, guest, sigmas), host))
            .filter(|&(reserve, _)| reserve >= 0.0)
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
            .map(|(_, host)| host)
    }

    /// Capacity and expected load of `hosts` together.
    pub(crate) fn total(&self, hosts: &[usize]) -> Total {
        let mut total = Total::default();
        for &host in hosts {
            total.capacity += self.view.hosts[host].capacity;
            total.mean += self.slots[host].mean;
            total.variance += self.slots[host].variance;
        }
        total
    }

    /// The most efficient open host without guests.
    pub(crate) fn best_idle(&self) -> Option<usize> {
        let idle = |&host: &usize| self.is_open(host) && self.slots[host].guests.is_empty();
        self.by_efficiency().into_iter().find(idle)
    }

    /// Open hosts that have at least one guest.
    pub(crate) fn active(&self) -> Vec<usize> {
        let active = |&host: &usize| self.is_open(host) && !self.slots[host].guests.is_empty();
        (0..self.slots.len()).filter(active).collect()
    }

    fn is_open(&self, host: usize) -> bool {
        self.open.get(host).copied().unwrap_or(true)
    }

    /// All hosts, the one that draws least per compute units at four fifths of its capacity first.
    pub(crate) fn by_efficiency(&self) -> Vec<usize> {
        let mut hosts: Vec<usize> = (0..self.slots.len()).collect();
        hosts.sort_by(|&a, &b| self.watts_per_unit(a).total_cmp(&self.watts_per_unit(b)));
        hosts
    }

    /// Watts per compute units at the utilisation a packed host runs at.
    pub(crate) fn watts_per_unit(&self, host: usize) -> f64 {
        const PACKED: f64 = 0.8;
        let facts = &self.view.hosts[host];
        facts.power.watts(PACKED) / (PACKED * facts.capacity)
    }

    /// The migrations that lead from the facts to the assignment, by guest.
    pub(crate) fn moves(&self) -> Vec<LoadMove> {
        let planned = self.places.iter().zip(&self.view.guests).enumerate();
        planned
            .filter_map(|(guest, (&place, facts))| {
                let to = place?;
                (facts.host.is_some() && facts.host != place).then_some(LoadMove { guest, to })
            })
            .collect()
    }
}
