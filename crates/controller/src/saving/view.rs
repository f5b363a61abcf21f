//! The cluster as loads and machines, from a picture, history and facts.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{ClusterView, GuestId, HostId, Metric, Timestamp};
use drover_planner::consolidate::{GuestLoad, HostLoad};
use drover_planner::power::{Expected, Machine, MachineState, View};
use drover_ports::{Entity, History, HistoryError, Resolution};
use drover_rules::power_line::unmeasured;

use super::Facts;
use crate::records::PowerPolicyRecord;

/// History of each guest that is looked at: as much as the estimate of its demand weighs.
const RECENT: Duration = Duration::from_secs(150 * 60);
/// History of the whole that the coming day is told from: weekdays can be told apart.
const PAST: Duration = Duration::from_secs(15 * 86_400);
/// Beyond so many guests only the last minutes of each count: reading everyone's history
/// would take longer than the turn.
const MOST_GUESTS: usize = 2000;
/// A server's time from the wish to the readiness, before one has been seen: firmware takes
/// minutes.
const USUAL_WAKE: Duration = Duration::from_secs(300);
/// Going down takes about so long, at idle watts.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// What a sleeping server draws for its BMC and network card, W.
const OFF_WATTS: f64 = 5.0;
const MIB: f64 = 1_048_576.0;

/// What history says.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Cores of each guest, newest first.
    pub guests: BTreeMap<GuestId, Vec<f64>>,
}

/// The view of a decision, and who the guests in it are.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// For the decision.
    pub view: View,
    /// Guests by their number in it.
    pub guests: Vec<GuestId>,
}

/// What guests used lately.
pub async fn past(view: &ClusterView, history: &dyn History) -> Result<Past, HistoryError> {
    let mut past = Past::default();
    if view.guests.len() > MOST_GUESTS {
        return Ok(past);
    }
    let (from, to) = (view.at.minus(RECENT), view.at);
    for guest in view.guests.keys() {
        let (entity, metric) = (Entity::Guest(*guest), Metric::GuestCpuCores);
        let points = history.series(entity, metric, from, to, Resolution::FiveMinutes).await?;
        past.guests.insert(*guest, points.iter().rev().map(|point| point.mean).collect());
    }
    Ok(past)
}

/// The coming day, by what all hosts together used in the last two weeks.
pub async fn expected(
    view: &ClusterView,
    history: &dyn History,
) -> Result<Vec<Expected>, HistoryError> {
    let (from, to) = (view.at.minus(PAST), view.at);
    let mut total: BTreeMap<Timestamp, f64> = BTreeMap::new();
    for (id, host) in &view.hosts {
        let (entity, metric) = (Entity::Host(*id), Metric::CpuUsageActive);
        let points = history.series(entity, metric, from, to, Resolution::FiveMinutes).await?;
        let cores = host.host.capabilities.cores.0;
        for point in points {
            *total.entry(point.at).or_default() += point.mean * cores / 100.0;
        }
    }
    let samples: Vec<(Timestamp, f64)> = total.into_iter().collect();
    Ok(Expected::day(&samples, view.at))
}

/// Seconds that a time zone is ahead of UTC at a moment; none for a zone that is not known.
pub fn offset(zone: &str, at: Timestamp) -> Option<i32> {
    let zone = jiff::tz::TimeZone::get(zone).ok()?;
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(zone.to_offset(at).seconds())
}

/// Puts picture, history and facts together. A guest that is not measured over the whole window
/// counts as it was last seen, and one that was never seen as one that needs all it may have.
pub fn power_view(
    cluster: &ClusterView,
    past: &Past,
    facts: &BTreeMap<HostId, Facts>,
    policy: &PowerPolicyRecord,
    course: Vec<Expected>,
) -> Seen {
    let number: BTreeMap<HostId, usize> = cluster.hosts.keys().copied().zip(0..).collect();
    let mut seen = Seen::default();
    seen.view.course = course;
    for (id, facts) in cluster.hosts.keys().filter_map(|id| Some((*id, facts.get(id)?))) {
        let (load, machine) = host(cluster, id, facts, policy);
        seen.view.load.hosts.push(load);
        seen.view.machines.push(machine);
    }
    for (id, of) in &cluster.guests {
        let Some(home) = number.get(&of.guest.host) else { continue };
        let away = seen.view.machines.get(*home).is_none_or(|of| of.state == MachineState::Away);
        // Guests of a host that is left alone are its own affair.
        if away || !of.guest.state.is_active() {
            continue;
        }
        let size = f64::from(of.guest.vcpus.0).max(f64::MIN_POSITIVE);
        let earlier = past.guests.get(id).map(Vec::as_slice).unwrap_or_default();
        let measured = cluster.guest_value(*id, Metric::GuestCpuCores);
        let now = measured.or_else(|| earlier.first().copied());
        let earlier = earlier.iter().copied();
        let history = now.into_iter().chain(earlier).map(|cores| cores / size);
        let memory_mb = bytes(of.guest.memory_demand().0) / MIB;
        let image = cluster.guest_value(*id, Metric::GuestResident);
        let guest = seen.view.load.guests.len();
        seen.view.load.hosts[*home].guests.push(guest);
        seen.view.load.guests.push(GuestLoad {
            size,
            image_mb: image.map_or(memory_mb, |image| image / MIB),
            memory_mb,
            demand: now.unwrap_or(size),
            history: if now.is_some() { history.collect() } else { vec![1.0] },
            host: Some(*home),
        });
        seen.guests.push(*id);
    }
    seen
}

/// A host without what others than its guests take of it.
fn host(
    cluster: &ClusterView,
    id: HostId,
    facts: &Facts,
    policy: &PowerPolicyRecord,
) -> (HostLoad, Machine) {
    let of = &cluster.hosts[&id].host.capabilities;
    let guests: Vec<GuestId> = cluster.guests_on(id).map(|of| of.guest.id).collect();
    let sum = |metric: Metric| -> f64 {
        guests.iter().filter_map(|guest| cluster.guest_value(*guest, metric)).sum()
    };
    let part = cluster.host_value(id, Metric::CpuUsageActive).unwrap_or(0.0) / 100.0;
    let others = (part * of.cores.0 - sum(Metric::GuestCpuCores)).max(0.0);
    let memory = bytes(of.memory.0);
    let used = cluster.host_value(id, Metric::MemAvailable).map_or(0.0, |free| memory - free);
    let other_memory = (used - sum(Metric::GuestResident)).max(0.0);
    let curve = facts.curve.unwrap_or_else(|| unmeasured(of.cores.0).curve());
    let load = HostLoad {
        capacity: (of.cores.0 - others).max(0.0),
        core: of.cores.0,
        memory_mb: ((memory - other_memory) / MIB).max(0.0),
        power: curve,
        utilisation: part,
        guests: Vec::new(),
    };
    let wake_time = facts.wake_time.unwrap_or(USUAL_WAKE);
    let wh = |watts: f64, span: Duration| watts * span.as_secs_f64() / 3600.0;
    let machine = Machine {
        id,
        state: facts.state,
        min_on: policy.min_on,
        min_off: policy.min_off,
        wake_time,
        cycle_wh: wh(curve.watts(1.0), wake_time) + wh(curve.watts(0.0), SHUTDOWN),
        off_watts: OFF_WATTS,
        may_not_park: facts.may_not_park.clone(),
        may_not_wake: facts.may_not_wake.clone(),
        excluded: policy.exclude.contains(&id),
    };
    (load, machine)
}

#[expect(clippy::cast_precision_loss, reason = "memory sizes stay below 2^53")]
const fn bytes(size: u64) -> f64 {
    size as f64
}
