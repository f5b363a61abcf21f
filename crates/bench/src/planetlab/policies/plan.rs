//! A scratch copy of the cluster on which a policy tries placements.

use crate::planetlab::catalog::BANDWIDTH;
use crate::planetlab::shares::{self, Claim, Phase};
use crate::planetlab::vm::HISTORY;
use drover_planner::consolidate::{GuestLoad, LoadView};

/// What an overload rule looks at on one host.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// CPU capacity, MIPS.
    pub(crate) capacity: f64,
    /// Demand of the guests now, MIPS.
    pub(crate) requested: f64,
    /// Past demand of the present guests over capacity, newest first, zero where unknown.
    ///
    /// The history follows the guests, not the host. Source: CloudSim 3.0.3
    /// `PowerHostUtilizationHistory`.
    pub(crate) history: [f64; HISTORY],
    /// Largest guest memory image, MB.
    pub(crate) largest_mb: f64,
    /// Network bandwidth, kbit/s.
    pub(crate) bandwidth: f64,
}

impl Load {
    /// The known part of the history: up to the oldest non-zero value, at least one element.
    ///
    /// Source: CloudSim 3.0.3 `MathUtil`.
    pub(crate) fn known_history(&self) -> &[f64] {
        let known = self.history.iter().rposition(|&value| value != 0.0).map_or(1, |last| last + 1);
        &self.history[..known]
    }

    /// Adds a guest asking for `request` MIPS now.
    fn add(&mut self, vm: &GuestLoad, request: f64) {
        self.requested += request;
        for (sum, &utilisation) in self.history.iter_mut().zip(&vm.history) {
            *sum += utilisation * vm.size / self.capacity;
        }
        self.largest_mb = self.largest_mb.max(vm.image_mb);
    }
}

/// A guest in the plan: the CPU it is granted by the scheduler and the CPU it asks for now. They
/// differ only while VMs are created: a VM just created holds its full size but asks for nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    /// VM identifier.
    pub(crate) vm: usize,
    /// MIPS claimed from the scheduler.
    pub(crate) claim: f64,
    /// MIPS asked for now.
    pub(crate) request: f64,
}

/// A host in the plan.
#[derive(Debug, Clone)]
pub(crate) struct PlanHost {
    /// Guests in order of arrival.
    pub(crate) guests: Vec<Guest>,
    /// Load of the guests.
    pub(crate) load: Load,
    /// MIPS the scheduler has allocated.
    pub(crate) allocated: f64,
    /// MIPS the scheduler has left.
    pub(crate) free: f64,
    /// Memory left, MB.
    pub(crate) free_mb: f64,
    core: f64,
    ram_mb: f64,
}

/// The cluster as planned so far.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    /// The facts.
    pub(crate) view: &'a LoadView,
    /// Hosts with the planned guests.
    pub(crate) hosts: Vec<PlanHost>,
}

impl<'a> Plan<'a> {
    /// The plan that changes nothing.
    pub(crate) fn new(view: &'a LoadView) -> Self {
        let hosts = view.hosts.iter().map(|host| PlanHost {
            guests: host
                .guests
                .iter()
                .map(|&vm| Guest {
                    vm,
                    claim: view.guests[vm].demand,
                    request: view.guests[vm].demand,
                })
                .collect(),
            load: Load {
                capacity: host.capacity,
                requested: 0.0,
                history: [0.0; HISTORY],
                largest_mb: 0.0,
                bandwidth: BANDWIDTH,
            },
            allocated: 0.0,
            free: 0.0,
            free_mb: 0.0,
            core: host.core,
            ram_mb: host.memory_mb,
        });
        let mut plan = Self { view, hosts: hosts.collect() };
        for host in 0..plan.hosts.len() {
            plan.refresh(host);
        }
        plan
    }

    /// Recomputes what is derived from the guests of `host`, in their order.
    fn refresh(&mut self, host: usize) {
        let view = self.view;
        let host = &mut self.hosts[host];
        let (load, guests) = (&mut host.load, &host.guests);
        load.requested = 0.0;
        load.history = [0.0; HISTORY];
        load.largest_mb = 0.0;
        for guest in guests {
            load.add(&view.guests[guest.vm], guest.request);
        }
        let claims: Vec<Claim> = guests
            .iter()
            .map(|guest| Claim { request: guest.claim, phase: Phase::Resident })
            .collect();
        let mut granted = Vec::with_capacity(claims.len());
        host.free = shares::divide(load.capacity, host.core, &claims, &mut granted);
        host.allocated = granted.iter().sum();
        let used_mb: f64 = guests.iter().map(|guest| view.guests[guest.vm].memory_mb).sum();
        host.free_mb = host.ram_mb - used_mb;
    }

    /// Puts a guest on `host`.
    pub(crate) fn put(&mut self, host: usize, guest: Guest) {
        self.hosts[host].guests.push(guest);
        self.refresh(host);
    }

    /// Takes VM `vm` off `host`.
    pub(crate) fn take(&mut self, host: usize, vm: usize) {
        self.hosts[host].guests.retain(|guest| guest.vm != vm);
        self.refresh(host);
    }

    /// Changes the request of the last guest of `host`, keeping its claim.
    pub(crate) fn quieten_last(&mut self, host: usize) {
        if let Some(guest) = self.hosts[host].guests.last_mut() {
            guest.request = 0.0;
        }
        self.refresh(host);
    }

    /// Load of `host` if `vm`, asking for `request` MIPS, joined it.
    pub(crate) fn load_with(&self, host: usize, vm: usize, request: f64) -> Load {
        let mut load = self.hosts[host].load.clone();
        load.add(&self.view.guests[vm], request);
        load
    }

    /// Whether `host` could take `vm` at all. Source: CloudSim 3.0.3 `Host`: one core, the MIPS
    /// left and the memory left must suffice.
    pub(crate) fn suits(&self, host: usize, vm: usize, request: f64) -> bool {
        let host = &self.hosts[host];
        host.core >= request
            && host.free >= request
            && host.free_mb >= self.view.guests[vm].memory_mb
    }
}
