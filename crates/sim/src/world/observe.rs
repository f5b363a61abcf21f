//! Demand, shares, samples, and the picture that decisions are made on.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{
    ClusterView, Cores, CpuDescription, Guest, GuestState as Seen, GuestView, Host,
    HostCapabilities, HostState, HostView, Metric, Reading, Timestamp, Vcpus,
};
use drover_rules::{Aggregate, WindowSpec, aggregate};
use rand::{Rng, RngExt as _};

use super::World;
use super::state::{Copy, Samples, as_float};
use crate::cluster::{GuestSpec, HostSpec};
use crate::load::fair;
use crate::settings::Settings;

/// Which window values are over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Over {
    pub(super) period: Duration,
    pub(super) aggregate: Aggregate,
}

/// The picture before the first sample. All hosts and guests are alike in what is not
/// modelled: disks, networks, processors.
pub(super) fn first_view(settings: &Settings) -> ClusterView {
    let cluster = &settings.cluster;
    let host = |spec| HostView {
        host: host(spec, settings.start),
        readings: BTreeMap::new(),
        lines: BTreeMap::new(),
    };
    let guest =
        |spec| GuestView { guest: guest(spec), readings: BTreeMap::new(), last_moved: None };
    ClusterView {
        at: settings.start,
        hosts: cluster.hosts().iter().map(|spec| (spec.id, host(spec))).collect(),
        guests: cluster.guests().iter().map(|spec| (spec.id, guest(spec))).collect(),
        in_flight: Vec::new(),
    }
}

fn host(spec: &HostSpec, now: Timestamp) -> Host {
    Host {
        id: spec.id,
        name: spec.name.clone(),
        state: HostState::Online,
        last_seen: now,
        capabilities: HostCapabilities {
            cpu: CpuDescription { arch: ARCH.to_owned(), ..CpuDescription::default() },
            cores: Cores(spec.cores),
            memory: spec.memory,
            virt_types: vec![KVM.to_owned()],
            machine_types: vec![MACHINE.to_owned()],
            ..HostCapabilities::default()
        },
        migration_address: spec.name.clone(),
        peer_uri: format!("sim://{}", spec.name),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

const ARCH: &str = "x86_64";
const KVM: &str = "kvm";
const MACHINE: &str = "q35";

fn guest(spec: &GuestSpec) -> Guest {
    Guest {
        id: spec.id,
        name: spec.name.clone(),
        host: spec.host,
        state: Seen::Running,
        vcpus: Vcpus(spec.vcpus),
        memory: spec.memory,
        current_memory: spec.memory,
        virt_type: KVM.to_owned(),
        qemu: None,
        arch: ARCH.to_owned(),
        machine: MACHINE.to_owned(),
        cpu_mode: "custom".to_owned(),
        cpu_model: None,
        disks: Vec::new(),
        leases: Vec::new(),
        nics: Vec::new(),
        host_devices: 0,
        persistent: true,
    }
}

impl World {
    /// What each guest wants from now on.
    pub(super) fn demand(&mut self) {
        let now = self.elapsed();
        for (guest, spec) in self.guests.iter_mut().zip(self.settings.cluster.guests()) {
            let step = guest.cursor.at(self.settings.trace.steps(&spec.name), now);
            guest.wants = step.map_or(0.0, |step| step.cores).min(f64::from(spec.vcpus));
            let may = as_float(spec.memory.bytes());
            let holds = step.and_then(|step| step.memory).map(as_float);
            guest.resident = holds.map_or(may, |holds| holds.min(may));
        }
    }

    /// Each host gives each of its guests its part.
    pub(super) fn share(&mut self) {
        for host in &mut self.hosts {
            host.running.clear();
        }
        for (number, guest) in self.guests.iter_mut().enumerate() {
            guest.gets = 0.0;
            if let Some(home) = guest.runs_on() {
                self.hosts[home].running.push(number);
            }
        }
        for (number, spec) in self.settings.cluster.hosts().iter().enumerate() {
            let host = &mut self.hosts[number];
            let wants: Vec<(f64, f64)> = host
                .running
                .iter()
                .map(|guest| {
                    let vcpus = self.settings.cluster.guests()[*guest].vcpus;
                    (self.guests[*guest].wants, f64::from(vcpus))
                })
                .collect();
            let gets = fair(&wants, spec.cores - spec.overhead_cores);
            host.used = spec.overhead_cores + gets.iter().sum::<f64>();
            for (guest, gets) in host.running.iter().zip(gets) {
                self.guests[*guest].gets = gets;
            }
            host.available = as_float(spec.memory);
        }
        for (number, guest) in self.guests.iter().enumerate() {
            for (host, copy) in &guest.copies {
                // An arriving copy is given all that it may grow to.
                let may = as_float(self.settings.cluster.guests()[number].memory.bytes());
                let held = if *copy == Copy::Running { guest.resident } else { may };
                self.hosts[*host].available -= held;
            }
        }
        for host in &mut self.hosts {
            host.available = host.available.max(0.0);
        }
    }

    /// Agents of hosts that are up measure.
    pub(super) fn sample(&mut self) {
        let (now, oldest) = (self.now, self.now.minus(self.keep));
        let noise = self.settings.model.noise;
        for (host, spec) in self.hosts.iter_mut().zip(self.settings.cluster.hosts()) {
            if !host.up {
                continue;
            }
            let percent = host.used * 100.0 / spec.cores * factor(noise, &mut self.noise);
            host.cpu_samples.push(now, percent.clamp(0.0, 100.0), oldest);
            host.memory_samples.push(now, host.available, oldest);
        }
        for guest in &mut self.guests {
            if guest.runs_on().is_some() {
                let cores = guest.gets * factor(noise, &mut self.noise);
                guest.cpu_samples.push(now, cores.max(0.0), oldest);
                guest.memory_samples.push(now, guest.resident, oldest);
            }
        }
    }

    /// Puts the hosts' readings over a window into the picture.
    pub(super) fn look_at_hosts(&mut self, over: Over) {
        self.view.at = self.now;
        for (number, view) in self.view.hosts.values_mut().enumerate() {
            let host = &self.hosts[number];
            let spec = window(over, self.settings.interval, host.disturbed);
            for (metric, samples) in [
                (Metric::CpuUsageActive, &host.cpu_samples),
                (Metric::MemAvailable, &host.memory_samples),
            ] {
                view.readings.insert(metric, read(samples, self.now, &spec));
            }
            if host.up {
                view.host.last_seen = self.now;
            }
        }
    }

    /// Puts the guests' readings over a window into the picture, and what is under way.
    pub(super) fn look_at_guests(&mut self, over: Over) {
        let spec = window(over, self.settings.interval, None);
        for (number, view) in self.view.guests.values_mut().enumerate() {
            let guest = &self.guests[number];
            view.last_moved = guest.last_moved;
            for (metric, samples) in [
                (Metric::GuestCpuCores, &guest.cpu_samples),
                (Metric::GuestResident, &guest.memory_samples),
            ] {
                view.readings.insert(metric, read(samples, self.now, &spec));
            }
        }
        self.view.in_flight = self.operations.in_flight();
    }
}

const fn window(
    over: Over,
    sample_interval: Duration,
    not_before: Option<Timestamp>,
) -> WindowSpec {
    WindowSpec { period: over.period, aggregate: over.aggregate, sample_interval, not_before }
}

fn read(samples: &Samples, now: Timestamp, spec: &WindowSpec) -> Reading {
    aggregate(samples.since(now.minus(spec.reach())), now, spec)
}

/// About 1: a normal distribution (Box and Muller), cut at three standard deviations.
fn factor(noise: f64, rng: &mut impl Rng) -> f64 {
    if noise == 0.0 {
        return 1.0;
    }
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    1.0 + noise * normal.clamp(-3.0, 3.0)
}
