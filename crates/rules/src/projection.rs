//! Exact bookkeeping: what each host's load is once planned moves are done.

use std::collections::BTreeMap;

use drover_model::{ClusterView, GuestId, HostId, HostView, Metric};
use serde::{Deserialize, Serialize};

use crate::placement_rule::{Labels, Scope, domain_of};
use crate::power_line::scaled;

/// A guest from one host to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Move {
    /// The guest.
    pub guest: GuestId,
    /// Where it is.
    pub from: HostId,
    /// Where it goes.
    pub to: HostId,
}

/// What a host draws, and what a guest that comes or goes changes of it.
///
/// Only the part that follows the CPU moves with a guest: a machine at rest draws what it
/// draws, whoever has left it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Draw {
    before: Option<f64>,
    at_rest: f64,
    per_core: Option<f64>,
    /// Busy cores that came less those that left.
    booked: f64,
    /// Busy cores that came, and what had left before: what holds at the worst moment.
    arrived: f64,
}

impl Draw {
    fn of(host: &HostView, metric: Metric) -> Self {
        let value = |metric| host.readings.get(&metric).and_then(drover_model::Reading::value);
        let used = value(Metric::CpuUsageActive).map(|percent| percent / 100.0);
        let measured = value(metric);
        let learned = host.lines.get(&metric).copied();
        let line = learned.or_else(|| Some(scaled(used?, measured?)));
        let before = measured.or_else(|| Some(learned?.watts(used?)));
        Self {
            before,
            at_rest: line.map_or(0.0, |line| line.idle).min(before.unwrap_or(0.0)),
            per_core: line.map(|line| line.per_core(host.host.capabilities.cores.0)),
            booked: 0.0,
            arrived: 0.0,
        }
    }

    /// Watts at the worst moment: guests that come are there before others have left.
    pub fn peak(&self) -> Option<f64> {
        Some((self.before? + self.arrived * self.per_core.unwrap_or(0.0)).max(self.at_rest))
    }

    /// Watts: as measured; by the host's learned line where they are not; else unknown.
    pub fn watts(&self) -> Option<f64> {
        Some(self.unlimited()?.max(self.at_rest))
    }

    /// Watts at rest; 0 where they are not known.
    pub const fn at_rest(&self) -> f64 {
        self.at_rest
    }

    /// Watts that one busy core more adds, by the learned line; by the usual shape of a
    /// server through what is measured where nothing was learned. None where neither is.
    pub const fn per_core(&self) -> Option<f64> {
        self.per_core
    }

    /// Without the rest that stays.
    fn unlimited(&self) -> Option<f64> {
        Some(self.before? + self.booked * self.per_core.unwrap_or(0.0))
    }

    /// The same with so many more busy cores; fewer where it is negative.
    fn with(self, cores: f64) -> Self {
        let arrived = self.arrived + cores.max(0.0);
        Self { booked: self.booked + cores, arrived, ..self }
    }
}

/// A host's load, as measured and then changed by booked moves. A value that was not
/// measured stays unknown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostLoad {
    /// Cores that make 100 %.
    pub cores: f64,
    /// Cores in use.
    pub used_cores: Option<f64>,
    /// Memory available, bytes.
    pub available: Option<f64>,
    /// Power of the machine.
    pub machine: Draw,
    /// Power of its CPU packages.
    pub packages: Draw,
}

impl HostLoad {
    /// The load in the unit of `metric`.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::CpuUsageActive => {
                self.used_cores.filter(|_| self.cores > 0.0).map(|used| used * 100.0 / self.cores)
            }
            Metric::MemAvailable => self.available,
            metric => self.draw(metric)?.watts(),
        }
    }

    /// Power by a metric in watts.
    pub const fn draw(&self, metric: Metric) -> Option<Draw> {
        match metric {
            Metric::PowerWatts => Some(self.machine),
            Metric::PowerPackageWatts => Some(self.packages),
            _ => None,
        }
    }

    /// Cores that may be in use for the host to draw no more than so many watts; none at all
    /// where it draws more at rest. None where its watts are not known or do not follow its CPU.
    pub fn cores_within(&self, metric: Metric, watts: f64) -> Option<f64> {
        let draw = self.draw(metric)?;
        let per_core = draw.per_core.filter(|per_core| *per_core > 0.0)?;
        let cores = self.used_cores? + (watts - draw.unlimited()?) / per_core;
        Some(if draw.at_rest >= watts { 0.0 } else { cores.max(0.0) })
    }
}

/// The cluster's loads after some moves.
#[derive(Debug, Clone)]
pub struct Projection<'a> {
    view: &'a ClusterView,
    loads: BTreeMap<HostId, HostLoad>,
    moved: BTreeMap<GuestId, HostId>,
}

impl<'a> Projection<'a> {
    /// The loads as measured, plus what is under way: a guest in flight is booked on its
    /// target already and still counts on its source.
    pub fn of(view: &'a ClusterView) -> Self {
        let loads = view
            .hosts
            .iter()
            .map(|(id, host)| {
                let cores = host.host.capabilities.cores.0;
                let load = HostLoad {
                    cores,
                    used_cores: view
                        .host_value(*id, Metric::CpuUsageActive)
                        .map(|percent| percent * cores / 100.0),
                    available: view.host_value(*id, Metric::MemAvailable),
                    machine: Draw::of(host, Metric::PowerWatts),
                    packages: Draw::of(host, Metric::PowerPackageWatts),
                };
                (*id, load)
            })
            .collect();
        let mut projection = Self { view, loads, moved: BTreeMap::new() };
        for flight in &view.in_flight {
            projection.book_target(flight.guest, flight.to);
        }
        projection
    }

    /// The picture that this grew from.
    pub const fn view(&self) -> &'a ClusterView {
        self.view
    }

    /// A host's load.
    pub fn load(&self, host: HostId) -> Option<HostLoad> {
        self.loads.get(&host).copied()
    }

    /// A host's load in the unit of `metric`.
    pub fn value(&self, host: HostId, metric: Metric) -> Option<f64> {
        self.load(host)?.value(metric)
    }

    /// Where a guest is after the booked moves.
    pub fn host_of(&self, guest: GuestId) -> Option<HostId> {
        self.moved
            .get(&guest)
            .copied()
            .or_else(|| self.view.guests.get(&guest).map(|view| view.guest.host))
    }

    /// The guests on a host after the booked moves.
    pub fn guests_on(&self, host: HostId) -> impl Iterator<Item = GuestId> {
        let stay = self.view.guests_on(host).map(|view| view.guest.id);
        let come = self.moved.iter().filter(move |(_, to)| **to == host).map(|(guest, _)| *guest);
        stay.filter(|guest| !self.moved.contains_key(guest)).chain(come)
    }

    /// How many of these guests are in each domain, by its name.
    pub fn places(
        &self,
        labels: &Labels,
        scope: &Scope,
        guests: &[GuestId],
    ) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for host in guests.iter().filter_map(|guest| self.host_of(*guest)) {
            *counts.entry(domain_of(labels, scope, host)).or_default() += 1;
        }
        counts
    }

    /// Whether a move of this guest is booked.
    pub fn is_moved(&self, guest: GuestId) -> bool {
        self.moved.contains_key(&guest)
    }

    /// What a guest takes from the host it runs on, in the unit of `metric` there, as a
    /// positive number: the relief that moving it away brings. None when not measured.
    pub fn relief(&self, guest: GuestId, host: HostId, metric: Metric) -> Option<f64> {
        match metric {
            Metric::CpuUsageActive => {
                let cores = self.loads.get(&host)?.cores;
                let used = self.view.guest_value(guest, Metric::GuestCpuCores)?;
                (cores > 0.0).then(|| used * 100.0 / cores)
            }
            Metric::MemAvailable => self.view.guest_value(guest, Metric::GuestResident),
            metric => self.watts_of(guest, host, metric),
        }
    }

    /// What a guest draws on a host, or would draw there: its busy cores by the host's line.
    /// None when that is not known.
    pub fn watts_of(&self, guest: GuestId, host: HostId, metric: Metric) -> Option<f64> {
        let per_core = self.loads.get(&host)?.draw(metric)?.per_core()?;
        Some(self.view.guest_value(guest, Metric::GuestCpuCores)? * per_core)
    }

    /// Memory that a host must find for a guest, bytes: what it may grow to, or what it
    /// holds already where QEMU's own use makes that more.
    pub fn memory_demand(&self, guest: GuestId) -> f64 {
        let configured =
            self.view.guests.get(&guest).map_or(0, |view| view.guest.memory_demand().0);
        let resident = self.view.guest_value(guest, Metric::GuestResident).unwrap_or(0.0);
        #[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
        resident.max(configured as f64)
    }

    /// The target's load if the guest came, without booking it. None when the guest's CPU
    /// use or the target's load is not measured.
    pub fn after_arrival(&self, guest: GuestId, to: HostId) -> Option<HostLoad> {
        let load = self.load(to)?;
        let cpu = self.view.guest_value(guest, Metric::GuestCpuCores)?;
        Some(HostLoad {
            cores: load.cores,
            used_cores: Some(load.used_cores? + cpu),
            available: Some(load.available? - self.memory_demand(guest)),
            machine: load.machine.with(cpu),
            packages: load.packages.with(cpu),
        })
    }

    /// Books a move on both hosts.
    pub fn book(&mut self, step: Move) {
        self.book_target(step.guest, step.to);
        let cpu = self.view.guest_value(step.guest, Metric::GuestCpuCores).unwrap_or(0.0);
        let resident = self.view.guest_value(step.guest, Metric::GuestResident).unwrap_or(0.0);
        if let Some(load) = self.loads.get_mut(&step.from) {
            load.used_cores = load.used_cores.map(|used| (used - cpu).max(0.0));
            load.available = load.available.map(|available| available + resident);
            load.machine = load.machine.with(-cpu);
            load.packages = load.packages.with(-cpu);
        }
        self.moved.insert(step.guest, step.to);
    }

    /// What was booked has happened: whoever was to leave has left.
    pub fn settle(&mut self) {
        for load in self.loads.values_mut() {
            load.machine.arrived = load.machine.booked;
            load.packages.arrived = load.packages.booked;
        }
    }

    /// Books only the target's side: what holds while the move is under way.
    pub fn book_target(&mut self, guest: GuestId, to: HostId) {
        let cpu = self.view.guest_value(guest, Metric::GuestCpuCores).unwrap_or(0.0);
        let demand = self.memory_demand(guest);
        if let Some(load) = self.loads.get_mut(&to) {
            load.used_cores = load.used_cores.map(|used| used + cpu);
            load.available = load.available.map(|available| available - demand);
            load.machine = load.machine.with(cpu);
            load.packages = load.packages.with(cpu);
        }
    }
}
