//! What a plan should make small: overload first, then imbalance, and the moves themselves.

use drover_model::{ClusterView, HostState, Metric};

use crate::Policy;
use crate::dense::{CPU, Dense, MEMORY};
use crate::search::{Imbalance, Objective, count};

/// Moving a guest again within a day costs this many times more.
const RESTLESS: f64 = 2.0;
/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// Overload and imbalance of the hosts that are in use.
pub(crate) fn even(dense: &mut Dense, view: &ClusterView, policy: &Policy) {
    let counts: Vec<bool> = dense
        .hosts
        .iter()
        .map(|host| {
            let online = view.hosts[host].host.state == HostState::Online;
            // A host that is not measured is not idle: its load is unknown.
            let measured = [Metric::CpuUsageActive, Metric::MemAvailable]
                .into_iter()
                .all(|metric| view.host_value(*host, metric).is_some());
            online && measured && !policy.placement.draining.contains(host)
        })
        .collect();
    let sizes = sizes(dense, view, policy);
    let r = dense.instance.resources;
    let hosts = count(counts.iter().filter(|counts| **counts).count()).max(1.0);
    let weights = &policy.weights;
    let mean_of = |column: usize| {
        let all: f64 =
            (0..counts.len()).filter(|h| counts[*h]).map(|h| sizes[h * r + column]).sum();
        all / hosts
    };
    let comfortable = |column| match column {
        CPU => weights.comfortable_cpu,
        MEMORY => weights.comfortable_memory,
        _ => 1.0,
    };
    let objective: &mut Objective = &mut dense.instance.objective;
    objective.limit = (0..counts.len() * r).map(|at| sizes[at] * comfortable(at % r)).collect();
    // One host's worth of overload counts as its deviation would, times the weight.
    // Where no host is measured, none is overloaded.
    let weight =
        |mean: f64| if mean > 0.0 { weights.overload / (mean * hosts.sqrt()) } else { 0.0 };
    objective.overload = (0..r).map(|column| weight(mean_of(column))).collect();
    objective.imbalance = columns(r, policy)
        .map(|(resource, weight)| Imbalance {
            resource,
            scale: (0..counts.len())
                .map(|host| match sizes[host * r + resource] {
                    size if counts[host] && size > 0.0 => 1.0 / size,
                    _ => 0.0,
                })
                .collect(),
            weight,
        })
        .collect();
}

/// Columns to keep even, with their weights: not the promised memory.
fn columns(resources: usize, policy: &Policy) -> impl Iterator<Item = (usize, f64)> {
    let first_other = resources - policy.resources.len();
    let weights = policy.weights;
    [(CPU, weights.cpu), (MEMORY, weights.memory)]
        .into_iter()
        .chain((first_other..resources).map(move |column| (column, weights.other)))
}

/// What each host has of each resource, whatever part may be used.
fn sizes(dense: &Dense, view: &ClusterView, policy: &Policy) -> Vec<f64> {
    let r = dense.instance.resources;
    let first_other = r - policy.resources.len();
    let mut sizes = Vec::with_capacity(dense.hosts.len() * r);
    for host in &dense.hosts {
        let of = &view.hosts[host].host.capabilities;
        for column in 0..r {
            sizes.push(match column {
                CPU => of.cores.0,
                #[expect(clippy::cast_precision_loss, reason = "memory stays below 2^53")]
                MEMORY => of.memory.0 as f64,
                _ if column < first_other => f64::INFINITY,
                _ => policy.resources[column - first_other].capacity,
            });
        }
    }
    sizes
}

/// What moves cost: `price` for all guests once, and the policy's weight for their bytes.
pub(crate) fn price_moves(dense: &mut Dense, view: &ClusterView, policy: &Policy, price: f64) {
    let instance = &mut dense.instance;
    let units = count(instance.home.len().max(1));
    let bytes: f64 = instance.objective.bytes.iter().sum::<f64>().max(1.0);
    let hurry = 3600.0 / policy.horizon.max(1.0);
    instance.objective.displacement = dense
        .units
        .iter()
        .zip(&instance.objective.bytes)
        .map(|(unit, size)| {
            let restless = unit.iter().any(|guest| {
                let moved = view.guests[guest].last_moved;
                moved.is_some_and(|moved| view.at.since(moved).as_secs_f64() < DAY)
            });
            let factor = if restless { RESTLESS } else { 1.0 };
            hurry * factor * (price / units + policy.weights.bytes * size / bytes)
        })
        .collect();
}
