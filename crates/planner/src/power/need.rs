//! What capacity a load needs, with its reserve.

use drover_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::Turn;
use super::decision::Outlook;
use super::schedule;
use super::state::State;
use super::view::Expected;
use crate::consolidate::hosts_needed;

/// The load of all guests together.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Load {
    /// Expected demand, compute units.
    pub mean: f64,
    /// Its variance, compute units squared.
    pub variance: f64,
    /// Memory of the guests, MB.
    pub memory_mb: f64,
}

/// Capacity over several hosts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Capacity {
    /// CPU, compute units.
    pub cpu: f64,
    /// Memory, MB.
    pub memory_mb: f64,
}

impl Capacity {
    /// Whether a need is met; rounding does not make a need.
    pub(super) fn covers(&self, need: &Self) -> bool {
        const ROUNDING: f64 = 1.0 + 1e-9;
        need.cpu <= self.cpu * ROUNDING && need.memory_mb <= self.memory_mb * ROUNDING
    }
}

impl Turn<'_> {
    /// The load now.
    pub(super) fn load(&self) -> Load {
        let mut load = Load::default();
        for (guest, demand) in self.view.load.guests.iter().zip(&self.demand) {
            if guest.host.is_some() {
                load.mean += demand.mean;
                load.variance += demand.variance;
                load.memory_mb += guest.memory_mb;
            }
        }
        load
    }

    /// Hosts that serve guests or are about to.
    pub(super) fn open(&self) -> Vec<usize> {
        let machines = self.view.machines.iter().enumerate();
        machines.filter(|(_, machine)| machine.is_open()).map(|(host, _)| host).collect()
    }

    /// Capacity of these hosts, without the `fewer` largest of them.
    pub(super) fn capacity(&self, hosts: &[usize], fewer: usize) -> Capacity {
        let without = |of: &dyn Fn(usize) -> f64| {
            let mut each: Vec<f64> = hosts.iter().map(|host| of(*host)).collect();
            each.sort_by(f64::total_cmp);
            each.iter().take(each.len().saturating_sub(fewer)).sum::<f64>()
        };
        Capacity {
            cpu: without(&|host| self.view.load.hosts[host].capacity),
            memory_mb: without(&|host| self.view.load.hosts[host].memory_mb),
        }
    }

    /// Capacity of one of the open hosts on average; of any, where none is open.
    pub(super) fn each(&self) -> f64 {
        let mut hosts = self.open();
        if hosts.is_empty() {
            hosts = (0..self.view.load.hosts.len()).collect();
        }
        self.capacity(&hosts, 0).cpu / real(hosts.len().max(1))
    }

    /// What the load needs so that it leaves each host so many standard deviations of reserve
    /// within the comfortable part, evenly spread over hosts of `each`.
    pub(super) fn need(&self, load: &Load, sigmas: f64, each: f64) -> Capacity {
        let comfortable = each * self.parameters.comfortable_cpu;
        if comfortable <= 0.0 {
            return Capacity::default();
        }
        Capacity {
            cpu: hosts_needed(load.mean, load.variance, sigmas, comfortable) * each,
            memory_mb: load.memory_mb / self.parameters.comfortable_memory,
        }
    }

    /// What the load takes with nothing to spare: less cannot be.
    pub(super) const fn bare(load: &Load) -> Capacity {
        Capacity { cpu: load.mean, memory_mb: load.memory_mb }
    }

    /// The highest need of the last `down_window`, with the reserve of parking.
    pub(super) fn highest_need(&self, state: &State, each: f64) -> Capacity {
        let parameters = &self.parameters;
        let window = state.within(parameters.down_window, self.now);
        window.fold(Capacity::default(), |most, load| {
            let need = self.need(load, parameters.park_sigmas, each);
            Capacity { cpu: most.cpu.max(need.cpu), memory_mb: most.memory_mb.max(need.memory_mb) }
        })
    }

    /// What a load to come needs: its mean with the reserve that it has today in proportion,
    /// and never less than what it may reach for a twentieth of the time.
    pub(super) fn expected_need(&self, coming: &Expected, sigmas: f64, each: f64) -> Capacity {
        let now = self.load();
        let growth = if now.mean > 0.0 { (coming.mean / now.mean).max(1.0) } else { 1.0 };
        let load = Load { mean: coming.mean, variance: now.variance * growth, ..now };
        let need = self.need(&load, sigmas, each);
        Capacity { cpu: need.cpu.max(coming.p95), ..need }
    }

    /// How many hosts the schedule wants awake at a moment.
    pub(super) fn scheduled(&self, at: Timestamp) -> usize {
        let policy = self.policy;
        let hosts = self.view.machines.len();
        schedule::awake(&policy.schedule, at, policy.utc_offset_s, hosts)
    }

    /// What the decision rests on.
    pub(super) fn outlook(&self, state: &State) -> Outlook {
        let (load, each, open) = (self.load(), self.each(), self.open());
        let parameters = &self.parameters;
        let on = open.iter().filter(|host| self.view.machines[**host].is_on());
        let watts = |host: &usize| {
            let facts = &self.view.load.hosts[*host];
            facts.power.watts(facts.utilisation)
        };
        Outlook {
            hosts_on: on.clone().count(),
            hosts_open: open.len(),
            load: load.mean,
            deviation: load.variance.sqrt(),
            capacity: self.capacity(&open, self.policy.reserve).cpu,
            need: self.need(&load, parameters.wake_sigmas, each).cpu,
            need_to_park: self.highest_need(state, each).cpu,
            memory_mb: load.memory_mb,
            memory_capacity_mb: self.capacity(&open, self.policy.reserve).memory_mb,
            expected: self.view.course.iter().map(|of| of.mean).reduce(f64::max),
            watts: on.map(watts).sum(),
            short_since: state.short,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) const fn real(count: usize) -> f64 {
    count as f64
}
