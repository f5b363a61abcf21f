//! What hosts have and guests need, column by column.

use std::collections::BTreeMap;

use drover_model::{ClusterView, GuestId, HostId, Metric, MetricUnit};
use drover_rules::constraint::Ceiling;
use drover_rules::{Comparison, PlacementPolicy, Projection};

use crate::policy::{Basis, Policy};

/// Column of CPU, cores.
pub(crate) const CPU: usize = 0;
/// Column of memory, bytes.
pub(crate) const MEMORY: usize = 1;

/// Cores by which a limit is lowered, so that what just fits here also fits where the same
/// is reckoned in watts.
const ROUNDING: f64 = 1e-5;

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
        let caps = cap_limits(projection, &policy.placement);
        for (number, host) in hosts.iter().enumerate() {
            let capped = caps.get(host).copied().unwrap_or(f64::INFINITY);
            columns.add_host(projection, policy, number, *host, capped);
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
        capped: f64,
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
        let busy = cpu_limit(&policy.placement, host) * cores;
        let watts = watts_limit(projection, &policy.placement, host);
        self.capacity.push(busy.min(watts).min(capped));
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

/// Cores that a host may use for it to stay below every ceiling in watts with its margin: a
/// host's watts are a line over its cores, so that no column of their own is needed.
fn watts_limit(projection: &Projection<'_>, policy: &PlacementPolicy, host: HostId) -> f64 {
    let Some(load) = projection.load(host) else { return f64::INFINITY };
    let in_watts = |ceiling: &&Ceiling| ceiling.condition.metric.unit() == MetricUnit::Watts;
    let about = policy.ceilings.iter().filter(|ceiling| ceiling.is_about(host)).filter(in_watts);
    about
        .filter_map(|ceiling| {
            let metric = ceiling.condition.metric;
            let most = ceiling.condition.threshold * (1.0 - policy.margin_memory);
            let nothing = 0.0;
            match load.value(metric) {
                None => ceiling.watches(host).then_some(nothing),
                Some(watts) => load
                    .cores_within(metric, most)
                    .map(|cores| cores - ROUNDING)
                    .or_else(|| (watts >= most).then_some(nothing)),
            }
        })
        .fold(f64::INFINITY, f64::min)
}

/// Cores that the hosts of capped groups may use: what a group has left is dealt out to its
/// hosts by what each could add with its idle cores. Any plan that keeps each host within its
/// part keeps the group within the cap at every moment.
fn cap_limits(projection: &Projection<'_>, policy: &PlacementPolicy) -> BTreeMap<HostId, f64> {
    let mut limits: BTreeMap<HostId, f64> = BTreeMap::new();
    for cap in &policy.power_caps {
        let left = cap.peak(projection).map_or(0.0, |watts| cap.watts - watts).max(0.0);
        let could = |host: &HostId| {
            let load = projection.load(*host)?;
            let idle = (load.cores - load.used_cores?).max(0.0);
            Some(idle * load.machine.per_core()?)
        };
        let all: f64 = cap.hosts.iter().filter_map(could).sum();
        for host in &cap.hosts {
            let part = could(host).map_or(0.0, |watts| left * watts / all.max(f64::MIN_POSITIVE));
            let load = projection.load(*host);
            let cores = load.and_then(|load| {
                load.cores_within(Metric::PowerWatts, load.machine.peak()? + part)
            });
            let cores = cores.map_or(0.0, |cores| if left > 0.0 { cores - ROUNDING } else { 0.0 });
            let limit = limits.entry(*host).or_insert(f64::INFINITY);
            *limit = limit.min(cores);
        }
    }
    limits
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
    let about = move |ceiling: &&Ceiling| ceiling.is_about(host);
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
