//! Bring a group of hosts below so many watts: guests go to hosts outside of it.
//!
//! As in relief of one host: if a single guest's share covers the excess, the cheapest such
//! guest goes; otherwise the one that takes most with it, and the search goes on.

use drover_model::{ClusterView, GuestId, HostId, Metric};
use drover_rules::constraint::{Constraint, PowerCap};
use drover_rules::{Move, Projection};
use rand::Rng;

use super::Outcome;
use crate::batch::{into_batches, seconds};
use crate::candidate::{bytes_to_move, guest_refusals, least_loaded, targets};
use crate::report::{HostOutlook, PlanReport, PlannedMove, RefusedMove};
use crate::{Budget, Policy};

const METRIC: Metric = Metric::PowerWatts;
/// Shares below this part of the cap are noise: moving such a guest relieves nothing.
const LEAST_SHARE: f64 = 0.001;

struct Candidate {
    guest: GuestId,
    from: HostId,
    share: f64,
    bytes: u64,
    feasible: Vec<HostId>,
}

pub(crate) fn shed(
    view: &ClusterView,
    policy: &Policy,
    group: &PowerCap,
    budget: &Budget,
    rng: &mut impl Rng,
) -> Outcome {
    let start = Projection::of(view);
    let mut projection = start.clone();
    let (mut moves, mut refused) = (Vec::new(), Vec::new());
    let mut report = PlanReport::default();
    let before = match group.drawn(&start) {
        Ok(watts) => watts,
        Err(host) => {
            report.unknown.push((host, format!("{METRIC} is not known")));
            report.summary = format!("what `{}` draws is not known", group.name);
            return (Vec::new(), report);
        }
    };
    let mut after = before;
    let mut why = None;
    while after > group.watts && why.is_none() {
        if moves.len() >= budget.max_moves {
            why = Some(format!("the plan may not have more than {} moves", budget.max_moves));
            break;
        }
        let candidates;
        (candidates, refused) = of_group(&projection, policy, group);
        let step = choose(&candidates, after - group.watts)
            .and_then(|chosen| planned(&projection, policy, chosen, after - group.watts, rng));
        match step {
            Some(step) => {
                projection.book(step.step);
                moves.push(step);
                after = group.drawn(&projection).unwrap_or(after);
            }
            None => why = Some("none of its guests can leave the group".to_owned()),
        }
    }
    let touched = |host: &&HostId| moves.iter().any(|step: &PlannedMove| step.step.from == **host);
    report.hosts = group
        .hosts
        .iter()
        .filter(|host| why.is_some() || touched(host))
        .filter_map(|host| {
            Some(HostOutlook {
                host: *host,
                metric: METRIC,
                before: start.value(*host, METRIC)?,
                after: projection.value(*host, METRIC)?,
                unrelieved: why.clone(),
                estimate: view.is_estimate(*host, METRIC),
            })
        })
        .collect();
    report.refused = refused;
    report.summary = format!(
        "{} move(s): the hosts of `{}` {} → {}{}",
        moves.len(),
        group.name,
        METRIC.show(before),
        METRIC.show(after),
        why.map_or_else(String::new, |why| format!(" (still too much: {why})")),
    );
    (into_batches(moves, budget), report)
}

/// Guests of the group that can leave it, and what is against the others.
fn of_group(
    projection: &Projection<'_>,
    policy: &Policy,
    group: &PowerCap,
) -> (Vec<Candidate>, Vec<RefusedMove>) {
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for from in &group.hosts {
        let guests = projection.guests_on(*from).filter(|guest| !projection.is_moved(*guest));
        for guest in guests.collect::<Vec<GuestId>>() {
            let against = guest_refusals(projection, &policy.placement, guest);
            if !against.is_empty() {
                refused.extend(against);
                continue;
            }
            let share = projection.watts_of(guest, *from, METRIC).unwrap_or(0.0);
            if share < LEAST_SHARE * group.watts {
                let reason = format!("its share of {METRIC} is only {}", METRIC.show(share));
                let constraint = Constraint::Share;
                refused.push(RefusedMove { guest, host: None, constraint, reason });
                continue;
            }
            let (mut feasible, against) = targets(projection, &policy.placement, guest);
            feasible.retain(|host| !group.hosts.contains(host));
            let outside = |one: &RefusedMove| one.host.is_none_or(|h| !group.hosts.contains(&h));
            refused.extend(against.into_iter().filter(outside));
            if !feasible.is_empty() {
                let bytes = bytes_to_move(projection, guest);
                candidates.push(Candidate { guest, from: *from, share, bytes, feasible });
            }
        }
    }
    (candidates, refused)
}

/// The cheapest guest that covers the excess alone, else the one with the largest share.
fn choose(candidates: &[Candidate], excess: f64) -> Option<&Candidate> {
    let covers = candidates.iter().filter(|one| one.share >= excess);
    covers
        .min_by(|a, b| {
            a.bytes.cmp(&b.bytes).then(a.share.total_cmp(&b.share)).then(a.guest.cmp(&b.guest))
        })
        .or_else(|| {
            candidates.iter().max_by(|a, b| a.share.total_cmp(&b.share).then(b.guest.cmp(&a.guest)))
        })
}

fn planned(
    projection: &Projection<'_>,
    policy: &Policy,
    chosen: &Candidate,
    excess: f64,
    rng: &mut impl Rng,
) -> Option<PlannedMove> {
    let to = least_loaded(projection, chosen.guest, &chosen.feasible, rng)?;
    let step = Move { guest: chosen.guest, from: chosen.from, to };
    let mut after = projection.clone();
    after.book(step);
    // A target that measures no watts is judged by its CPU, and so is the move.
    let metric = [METRIC, Metric::CpuUsageActive]
        .into_iter()
        .find(|metric| [chosen.from, to].iter().all(|h| projection.value(*h, *metric).is_some()))?;
    let both = |host| Some((projection.value(host, metric)?, after.value(host, metric)?));
    let enough = if chosen.share >= excess { "covers" } else { "is the largest part of" };
    let (share, excess) = (METRIC.show(chosen.share), METRIC.show(excess));
    Some(PlannedMove {
        step,
        bytes: chosen.bytes,
        why_guest: format!("its share of {share} {enough} the group's excess of {excess}"),
        why_host: format!(
            "least loaded of {} feasible host(s) outside of the group once the guest is there",
            chosen.feasible.len()
        ),
        metric,
        from: both(chosen.from)?,
        to: both(to)?,
        gain: None,
        seconds: seconds(chosen.bytes, policy),
    })
}
