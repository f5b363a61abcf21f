//! Relief where single moves do not do: guests change places, or others make room.

use drover_model::{ClusterView, HostId, Metric};
use drover_rules::{Condition, Projection};
use rand::Rng;

use super::Outcome;
use crate::dense::{CPU, Dense, MEMORY};
use crate::improve::{Quest, find};
use crate::objective::price_moves;
use crate::report::{HostOutlook, PlanReport};
use crate::search::{Limits, count};
use crate::{Budget, Policy};

/// Cost of a whole host's worth of excess; moving every guest once costs 1.
const EXCESS: f64 = 1000.0;

/// Stages of the search: rules ask every few seconds while a host stays hot.
const EFFORT: u8 = 0;
/// In larger clusters single moves alone are tried: some other host takes them.
const MOST_GUESTS: usize = 20_000;

/// A plan that leaves less excess than `so_far`, if the search finds one.
pub(crate) fn untangle(
    view: &ClusterView,
    policy: &Policy,
    condition: Condition,
    so_far: &PlanReport,
    budget: &Budget,
    rng: &mut impl Rng,
) -> Option<Outcome> {
    if view.guests.len() > MOST_GUESTS {
        return None;
    }
    let budget = &Budget { effort: EFFORT, ..*budget };
    let hosts: Vec<HostId> = so_far.hosts.iter().map(|outlook| outlook.host).collect();
    let mut dense = Dense::of(view, policy, &|_| true);
    limit_to(&mut dense, view, condition, &hosts)?;
    price_moves(&mut dense, view, policy, 1.0);
    let limits = Limits { moves: budget.max_moves, bytes: f64::INFINITY };
    let start = dense.instance.home.clone();
    let why = "single moves do not relieve the host: guests change places";
    let quest = Quest { view, policy, budget, limits, why };
    let (arranged, _) = find(&mut dense, &start, quest, rng);
    let mut projection = Projection::of(view);
    arranged.batches.iter().flatten().for_each(|step| projection.book(step.step));
    let outlooks: Vec<HostOutlook> = so_far
        .hosts
        .iter()
        .map(|outlook| {
            let after = projection.value(outlook.host, condition.metric).unwrap_or(outlook.before);
            let still = condition.holds(after);
            let unrelieved =
                still.then(|| "no exchange of guests relieves it within the limits".to_owned());
            HostOutlook { after, unrelieved, ..outlook.clone() }
        })
        .collect();
    let excess = |outlooks: &[HostOutlook]| -> f64 {
        outlooks.iter().map(|outlook| condition.excess(outlook.after).max(0.0)).sum()
    };
    let relieved = outlooks.iter().filter(|outlook| outlook.unrelieved.is_none()).count();
    if excess(&outlooks) >= excess(&so_far.hosts) || arranged.batches.is_empty() {
        return None;
    }
    let summary =
        format!("{} move(s) relieve {relieved} of {} host(s)", arranged.moves(), outlooks.len());
    let report = PlanReport { summary, hosts: outlooks, stuck: arranged.stuck, ..so_far.clone() };
    Some((arranged.batches, report))
}

/// Overload begins at the condition's threshold, on these hosts. None for a metric that the
/// dense problem does not have.
fn limit_to(
    dense: &mut Dense,
    view: &ClusterView,
    condition: Condition,
    hosts: &[HostId],
) -> Option<()> {
    let instance = &mut dense.instance;
    let r = instance.resources;
    instance.objective.limit = vec![f64::INFINITY; instance.capacity.len()];
    instance.objective.overload = vec![0.0; r];
    let mut sizes = 0.0;
    let projection = Projection::of(view);
    for (number, host) in dense.hosts.iter().enumerate().filter(|(_, host)| hosts.contains(host)) {
        let of = &view.hosts.get(host)?.host.capabilities;
        #[expect(clippy::cast_precision_loss, reason = "memory sizes stay below 2^53")]
        let (column, size, limit) = match condition.metric {
            Metric::CpuUsageActive => (CPU, of.cores.0, of.cores.0 * condition.threshold / 100.0),
            Metric::MemAvailable => {
                (MEMORY, of.memory.0 as f64, of.memory.0 as f64 - condition.threshold)
            }
            metric => {
                let load = projection.load(*host)?;
                (CPU, of.cores.0, load.cores_within(metric, condition.threshold)?)
            }
        };
        instance.objective.limit[number * r + column] = limit;
        sizes += size;
        instance.objective.overload[column] = EXCESS * count(hosts.len()) / sizes;
    }
    Some(())
}
