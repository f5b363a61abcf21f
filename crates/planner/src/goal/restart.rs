//! New hosts for the guests of hosts that died.
//!
//! Nothing is sent: the guests start from their definitions. What they last used is what
//! they are taken to need; where that is unknown, what they are configured with.

use std::time::Duration;

use drover_model::{
    ClusterView, GuestId, GuestState, GuestView, HostId, HostState, Metric, Reading, Timestamp,
};
use rand::Rng;

use super::Outcome;
use super::drain::place_all;
use crate::arrange::names;
use crate::report::PlanReport;
use crate::{Budget, Policy};

pub(crate) fn restart(
    view: &ClusterView,
    policy: &Policy,
    dead: &[HostId],
    budget: &Budget,
    rng: &mut impl Rng,
) -> Outcome {
    let mut policy = policy.clone();
    policy.placement.draining.extend(dead);
    policy.placement.cooldown = Duration::ZERO;
    let view = as_if_movable(view, &policy, dead);
    let why = "its host is dead";
    let (arranged, left) = place_all(&view, &policy, dead, budget, why, rng);
    let summary = if left.is_empty() {
        format!("{} guest(s) start elsewhere", arranged.moves())
    } else {
        format!("{} guest(s) find no host: {}", left.len(), names(&view, &left))
    };
    let (batches, report) = arranged.reported(summary);
    (batches, PlanReport { unplaced: left, ..report })
}

/// The view in which a guest that runs nowhere is taken to need what it last used, or what it
/// is configured with where that is unknown.
pub fn as_if_running(view: &ClusterView, policy: &Policy, guest: GuestId) -> ClusterView {
    let mut view = view.clone();
    if let Some(of) = view.guests.get_mut(&guest) {
        fill_readings(of, policy, view.at);
    }
    view
}

/// The view in which the dead hosts' guests are asked about as if they ran: a constraint
/// that needs the source does not apply to a start.
fn as_if_movable(view: &ClusterView, policy: &Policy, dead: &[HostId]) -> ClusterView {
    let mut view = view.clone();
    view.in_flight.retain(|flight| !dead.contains(&flight.from) && !dead.contains(&flight.to));
    for host in dead {
        if let Some(seen) = view.hosts.get_mut(host) {
            seen.host.state = HostState::Online;
            // The QEMU that ran its guests is gone with it.
            seen.host.capabilities.qemu.clear();
        }
    }
    let at = view.at;
    for guest in view.guests.values_mut().filter(|guest| dead.contains(&guest.guest.host)) {
        if guest.guest.state != GuestState::ShutOff {
            guest.guest.state = GuestState::Running;
        }
        guest.guest.qemu = None;
        fill_readings(guest, policy, at);
    }
    view
}

fn fill_readings(guest: &mut GuestView, policy: &Policy, at: Timestamp) {
    let known = |value| Reading::Known { value, samples: 1, newest: at };
    let cores = f64::from(guest.guest.vcpus.0) / policy.vcpus_per_core;
    #[expect(clippy::cast_precision_loss, reason = "memory sizes stay below 2^53")]
    let memory = guest.guest.memory_demand().0 as f64;
    for (metric, value) in [(Metric::GuestCpuCores, cores), (Metric::GuestResident, memory)] {
        let reading = guest.readings.entry(metric).or_insert(known(value));
        if reading.value().is_none() {
            *reading = known(value);
        }
    }
}
