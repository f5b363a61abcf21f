//! Whether the hosts that stay awake could lose some of theirs: every guest of the lost ones
//! finds a place on the rest. Hosts that are off do not count: they would have to be woken first.

use std::collections::BTreeMap;

use drover_model::{ClusterView, GuestId, HostId, HostState, Metric, Reading};
use drover_planner::{Budget, Goal, Plan, Policy, plan};
use rand_pcg::Pcg64;

use crate::picture::Picture;

/// Hosts that are lost one after the other in thought, those with most memory in use first: a
/// search each.
const MOST_LOSSES: usize = 64;

/// Hosts whose loss leaves guests without a place once `host` is off and its guests have gone
/// where `moves` takes them; none where nothing is seen against it.
pub(super) fn fatal_loss(
    picture: &Picture,
    host: HostId,
    moves: &Plan,
    failures: u8,
    seed: u64,
) -> Option<(Vec<HostId>, Vec<GuestId>)> {
    if failures == 0 {
        return None;
    }
    let view = without(&picture.view, host, moves);
    let mut placement = picture.placement.clone();
    placement.draining.retain(|draining| *draining != host);
    let in_use = |id: HostId| -> u64 {
        let guests = view.guests_on(id).filter(|of| of.guest.state.is_active());
        guests.map(|of| of.guest.memory_demand().0).sum()
    };
    let online = view.hosts.values().filter(|of| of.host.state == HostState::Online);
    let mut heavy: Vec<HostId> = online.map(|of| of.host.id).collect();
    heavy.sort_by_key(|id| (std::cmp::Reverse(in_use(*id)), *id));
    heavy.iter().take(MOST_LOSSES).find_map(|first| {
        let others = heavy.iter().filter(|other| *other != first);
        let mut lost = vec![*first];
        lost.extend(others.take(usize::from(failures) - 1));
        let policy = Policy::new(Goal::Restart { hosts: lost.clone() }, placement.clone());
        let budget = Budget::default().for_a_queue();
        let (_, report) = plan(&view, &policy, &budget, &mut Pcg64::new(seed.into(), 1));
        (!report.unplaced.is_empty()).then_some((lost, report.unplaced))
    })
}

/// The cluster after the moves and without the host.
fn without(view: &ClusterView, host: HostId, moves: &Plan) -> ClusterView {
    let mut after = view.clone();
    for step in moves.moves() {
        let (guest, from, to) = (step.step.guest, step.step.from, step.step.to);
        let Some(of) = after.guests.get_mut(&guest) else { continue };
        of.guest.host = to;
        let memory = value(&of.readings, Metric::GuestResident)
            .unwrap_or_else(|| bytes(of.guest.memory_demand().0));
        let cores = value(&of.readings, Metric::GuestCpuCores).unwrap_or_default();
        for (id, sign) in [(from, 1.0), (to, -1.0)] {
            let Some(of) = after.hosts.get_mut(&id) else { continue };
            let all = of.host.capabilities.cores.0.max(f64::MIN_POSITIVE);
            add(of.readings.get_mut(&Metric::MemAvailable), sign * memory);
            add(of.readings.get_mut(&Metric::CpuUsageActive), -sign * cores * 100.0 / all);
        }
    }
    after.hosts.remove(&host);
    after.guests.retain(|_, of| of.guest.host != host);
    after
}

fn value(readings: &BTreeMap<Metric, Reading>, metric: Metric) -> Option<f64> {
    readings.get(&metric)?.value()
}

fn add(reading: Option<&mut Reading>, more: f64) {
    if let Some(Reading::Known { value, .. }) = reading {
        *value = (*value + more).max(0.0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory sizes stay below 2^53")]
const fn bytes(memory: u64) -> f64 {
    memory as f64
}

#[cfg(test)]
mod tests {
    use drover_rules::PlacementPolicy;
    use drover_testkit::{Cluster, host_id};

    use super::*;
    use crate::drain::certificate;

    fn check(guests_mib: u64, failures: u8, survives: bool) {
        let mut cluster = Cluster::new();
        for n in 1..=3 {
            cluster = cluster.host(n, 16.0, 64, 5.0, 40.0);
        }
        cluster = cluster.guest(1, 1, guests_mib, 0.1).guest(2, 2, guests_mib, 0.1);
        cluster = cluster.guest(3, 3, guests_mib, 0.1);
        let picture = Picture { view: cluster.view(), placement: PlacementPolicy::default() };
        let found = certificate(&picture, host_id(3), &BTreeMap::new(), 1).unwrap();
        assert!(found.is_feasible(), "{:?}", found.blocked);
        let fatal = fatal_loss(&picture, host_id(3), &found.plan, failures, 1);
        assert_eq!(fatal.is_none(), survives, "{fatal:?}");
    }

    #[test]
    fn two_hosts_that_could_not_take_over_from_each_other_are_not_left_alone() {
        check(4 << 10, 1, true);
        check(4 << 10, 2, false);
        check(22 << 10, 1, false);
        check(22 << 10, 0, true);
    }
}
