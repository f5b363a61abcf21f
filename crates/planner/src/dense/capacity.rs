//! What hosts have and guests need, column by column.

use drover_model::{ClusterView, GuestId, HostId, Metric};
use drover_rules::constraint::Ceiling;
use drover_rules::{Comparison, PlacementPolicy, Projection};

use crate::policy::{Basis, Policy};

/// Column of CPU, cores.
pub(crate) const CPU: usize = 0;
/// Column of memory, bytes.
pub(crate) const MEMORY: usize = 1;

/// The tables of an instance.
pub(super) struct Columns {
    pub(super) resources: usize,
    pub(super) capacity: Vec<f64>,
    pub(super) base: Vec<f64>,
    pub(super) demand: Vec<f64>,
    pub(super) lingers: Vec<f64>,
    pub(super) bytes: Vec<f64>,
}

impl Columns {
    pub(super) fn of(
        projection: &Projection<'_>,
        policy: &Policy,
        hosts: &[HostId],
        units: &[Vec<GuestId>],
        home: &[u32],
    ) -> Self {
        let view = projection.view();
        let promised = policy.placement.memory_overcommit;
        let resources = 2 + usize::from(promised.is_some()) + policy.resources.len();
        let mut columns = Self {
            resources,
            capacity: Vec::with_capacity(hosts.len() * resources),
            base: vec![0.0; hosts.len() * resources],
            demand: Vec::with_capacity(units.len() * resources),
            lingers: Vec::with_capacity(units.len() * resources),
            bytes: Vec::with_capacity(units.len()),
        };
        for (unit, home) in units.iter().zip(home) {
            columns.add_unit(projection, policy, unit, *home as usize);
        }
        for (number, host) in hosts.iter().enumerate() {
            columns.add_host(projection, policy, number, *host);
        }
        for flight in &view.in_flight {
            columns.add_arrival(projection, policy, hosts, flight.guest, flight.to);
        }
        columns
    }

    fn add_unit(
        &mut self,
        projection: &Projection<'_>,
        policy: &Policy,
        unit: &[GuestId],
        home: usize,
    ) {
        let mut need = vec![0.0; self.resources];
        let mut lingers = vec![0.0; self.resources];
        let mut bytes = 0.0;
        for guest in unit {
            let one = demand(projection, policy, *guest);
            let resident = projection.view().guest_value(*guest, Metric::GuestResident);
            // Leaving frees what is resident, not what was promised.
            lingers[MEMORY] += (one[MEMORY] - resident.unwrap_or(0.0)).max(0.0);
            bytes += resident.filter(|bytes| *bytes > 0.0).unwrap_or(one[MEMORY]);
            for (sum, one) in need.iter_mut().zip(one) {
                *sum += one;
            }
        }
        // What the host uses without its guests is what is left of its measurement.
        for (i, need) in need.iter().enumerate() {
            self.base[home * self.resources + i] -= need;
        }
        self.demand.extend(need);
        self.lingers.extend(lingers);
        self.bytes.push(bytes);
    }

    fn add_host(
        &mut self,
        projection: &Projection<'_>,
        policy: &Policy,
        number: usize,
        host: HostId,
    ) {
        let view = projection.view();
        let base = &mut self.base[number * self.resources..][..self.resources];
        let cores = view.hosts[&host].host.capabilities.cores.0;
        let installed = real(view.hosts[&host].host.capabilities.memory.0);
        let measured = view.host_value(host, Metric::CpuUsageActive);
        let used = match policy.basis {
            Basis::Measured => measured.map_or(0.0, |percent| percent * cores / 100.0),
            Basis::Configured => -base[CPU],
        };
        // Guests can be measured a moment after their host: never below nothing.
        base[CPU] = (base[CPU] + used).max(0.0);
        self.capacity.push(cpu_limit(&policy.placement, host) * cores);
        // Memory: what is free now less what must stay free is what guests may add.
        let available = view.host_value(host, Metric::MemAvailable).unwrap_or(0.0);
        let used = installed - available;
        base[MEMORY] += used;
        self.capacity.push(installed - memory_floor(&policy.placement, host));
        if let Some(ratio) = policy.placement.memory_overcommit {
            base[2] = 0.0;
            self.capacity.push(installed * ratio);
        }
        let first = self.resources - policy.resources.len();
        for (i, resource) in policy.resources.iter().enumerate() {
            let used = view.host_value(host, resource.host_metric).unwrap_or(0.0);
            base[first + i] = (base[first + i] + used).max(0.0);
            self.capacity.push(resource.capacity);
        }
    }

    /// A guest in flight holds resources on its target already.
    fn add_arrival(
        &mut self,
        projection: &Projection<'_>,
        policy: &Policy,
        hosts: &[HostId],
        guest: GuestId,
        to: HostId,
    ) {
        let Ok(number) = hosts.binary_search(&to) else { return };
        for (i, need) in demand(projection, policy, guest).into_iter().enumerate() {
            self.base[number * self.resources + i] += need;
        }
    }
}

/// What a guest needs of each resource.
fn demand(projection: &Projection<'_>, policy: &Policy, guest: GuestId) -> Vec<f64> {
    let view: &ClusterView = projection.view();
    let Some(seen) = view.guests.get(&guest) else {
        return vec![0.0; 2];
    };
    let active = seen.guest.state.is_active();
    let measured = view.guest_value(guest, Metric::GuestCpuCores).unwrap_or(0.0);
    let cpu = match policy.basis {
        Basis::Measured => measured,
        Basis::Configured => f64::from(seen.guest.vcpus.0) / policy.vcpus_per_core,
    };
    let memory = projection.memory_demand(guest);
    let mut need = vec![if active { cpu } else { 0.0 }, if active { memory } else { 0.0 }];
    if policy.placement.memory_overcommit.is_some() {
        need.push(real(seen.guest.memory_demand().0));
    }
    let extra = policy.resources.iter();
    need.extend(extra.map(|one| view.guest_value(guest, one.guest_metric).unwrap_or(0.0)));
    need
}

/// The part of its cores that a host may be used to: the lowest CPU ceiling with its margin.
fn cpu_limit(policy: &PlacementPolicy, host: HostId) -> f64 {
    ceilings(policy, host, Metric::CpuUsageActive, |comparison| comparison == Comparison::Above)
        .map(|threshold| (threshold - policy.margin_percent) / 100.0)
        .fold(f64::INFINITY, f64::min)
}

/// Memory that must stay available on a host, bytes.
fn memory_floor(policy: &PlacementPolicy, host: HostId) -> f64 {
    ceilings(policy, host, Metric::MemAvailable, |comparison| comparison == Comparison::Below)
        .map(|threshold| threshold * (1.0 + policy.margin_memory))
        .fold(real(policy.memory_reserve), f64::max)
}

fn ceilings(
    policy: &PlacementPolicy,
    host: HostId,
    metric: Metric,
    wanted: fn(Comparison) -> bool,
) -> impl Iterator<Item = f64> {
    let about = move |ceiling: &&Ceiling| ceiling.hosts.is_empty() || ceiling.hosts.contains(&host);
    policy
        .ceilings
        .iter()
        .filter(about)
        .map(|ceiling| ceiling.condition)
        .filter(move |condition| condition.metric == metric && wanted(condition.comparison))
        .map(|condition| condition.threshold)
}

#[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
const fn real(bytes: u64) -> f64 {
    bytes as f64
}
