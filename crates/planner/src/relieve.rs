//! Bring hosts back to the good side of a condition: the worst host first, with the fewest
//! moves, and among equally few the cheapest, and not one more than needed.
//!
//! For one host: if a single guest's share covers the excess, the cheapest such guest goes
//! (fewest bytes to move, then the smallest share). Otherwise the guest with the largest
//! share goes and the search goes on with what is left. A guest whose largest share has no
//! feasible target is passed over, so a host may end unrelieved; the report says why.

use drover_model::{ClusterView, GuestId, HostId, Metric, MetricUnit};
use drover_rules::constraint::Constraint;
use drover_rules::{Condition, Move, Projection};
use rand::Rng;

use crate::candidate::{bytes_to_move, guest_refusals, least_loaded, targets};
use crate::report::{HostOutlook, PlanReport, PlannedMove, RefusedMove};
use crate::{Budget, Policy};

/// Shares below this part of the threshold are noise: moving such a guest relieves nothing.
const LEAST_SHARE: f64 = 0.005;

struct Candidate {
    guest: GuestId,
    share: f64,
    bytes: u64,
    feasible: Vec<HostId>,
}

pub(crate) fn relieve(
    view: &ClusterView,
    policy: &Policy,
    condition: Condition,
    hosts: &[HostId],
    budget: &Budget,
    rng: &mut impl Rng,
) -> (Vec<PlannedMove>, PlanReport) {
    let mut search = Search {
        policy,
        condition,
        projection: Projection::of(view),
        moves: Vec::new(),
        refused: Vec::new(),
        max_moves: budget.max_moves,
    };
    let mut report = PlanReport::default();
    let mut worst_first: Vec<(f64, HostId)> = Vec::new();
    for host in hosts {
        match view.host_value(*host, condition.metric) {
            Some(value) if condition.holds(value) => worst_first.push((value, *host)),
            Some(_) => {}
            None => report.unknown.push((*host, format!("{} is not known", condition.metric))),
        }
    }
    worst_first.sort_by(|a, b| {
        condition.excess(b.0).total_cmp(&condition.excess(a.0)).then(a.1.cmp(&b.1))
    });
    for (before, host) in worst_first {
        let unrelieved = search.relieve_host(host, rng);
        let after = search.projection.value(host, condition.metric).unwrap_or(before);
        report.hosts.push(HostOutlook {
            host,
            metric: condition.metric,
            before,
            after,
            unrelieved,
            estimate: view.is_estimate(host, condition.metric),
        });
    }
    report.refused = search.refused;
    report.summary = summary(view, condition, &search.moves, &report.hosts);
    (search.moves, report)
}

struct Search<'a> {
    policy: &'a Policy,
    condition: Condition,
    projection: Projection<'a>,
    moves: Vec<PlannedMove>,
    refused: Vec<RefusedMove>,
    max_moves: usize,
}

impl Search<'_> {
    /// Plans moves off one host; returns why it stays on the bad side, if it does.
    fn relieve_host(&mut self, host: HostId, rng: &mut impl Rng) -> Option<String> {
        let metric = self.condition.metric;
        loop {
            let value = self.projection.value(host, metric)?;
            if !self.condition.holds(value) {
                return None;
            }
            if self.moves.len() >= self.max_moves {
                return Some(format!("the plan may not have more than {} moves", self.max_moves));
            }
            let candidates = self.candidates(host);
            let Some(chosen) = choose(&candidates, self.condition.excess(value)) else {
                return Some(self.why_none(host));
            };
            let step = self.planned(host, chosen, value, rng)?;
            self.projection.book(step.step);
            self.moves.push(step);
        }
    }

    /// Guests of the host that can go somewhere, and the refusals of the others.
    fn candidates(&mut self, host: HostId) -> Vec<Candidate> {
        let metric = self.condition.metric;
        let guests: Vec<GuestId> =
            self.projection.view().guests_on(host).map(|view| view.guest.id).collect();
        let mut candidates = Vec::new();
        let mut refused = Vec::new();
        for guest in guests {
            if self.projection.is_moved(guest) {
                continue;
            }
            let against = guest_refusals(&self.projection, &self.policy.placement, guest);
            if !against.is_empty() {
                refused.extend(against);
                continue;
            }
            let share = self.projection.relief(guest, host, metric).unwrap_or(0.0);
            if share < LEAST_SHARE * self.condition.threshold {
                refused.push(RefusedMove {
                    guest,
                    host: None,
                    constraint: Constraint::Share,
                    reason: format!("its share of {metric} is only {}", metric.show(share)),
                });
                continue;
            }
            let (mut feasible, against) = targets(&self.projection, &self.policy.placement, guest);
            refused.extend(against);
            // What a source frees is free only once its guests are gone, so a host that
            // this plan relieves takes no guest in the same plan.
            feasible.retain(|target| {
                let relieved = self.moves.iter().any(|step| step.step.from == *target);
                if relieved {
                    refused.push(RefusedMove {
                        guest,
                        host: Some(*target),
                        constraint: Constraint::RelievedHost,
                        reason: "this plan moves guests away from it".to_owned(),
                    });
                }
                !relieved
            });
            if !feasible.is_empty() {
                let bytes = bytes_to_move(&self.projection, guest);
                candidates.push(Candidate { guest, share, bytes, feasible });
            }
        }
        // What the last look at this host found is what the report says.
        let view = self.projection.view();
        let on_host = |refusal: &RefusedMove| {
            view.guests.get(&refusal.guest).is_some_and(|guest| guest.guest.host == host)
        };
        self.refused.retain(|refusal| !on_host(refusal));
        self.refused.extend(refused);
        candidates
    }

    fn planned(
        &self,
        host: HostId,
        chosen: &Candidate,
        value: f64,
        rng: &mut impl Rng,
    ) -> Option<PlannedMove> {
        let watched = self.condition.metric;
        let view = self.projection.view();
        let to = least_loaded(&self.projection, chosen.guest, &chosen.feasible, rng)?;
        let step = Move { guest: chosen.guest, from: host, to };
        // A target that measures no watts is judged by its CPU, and so is the move.
        let metric = [watched, Metric::CpuUsageActive]
            .into_iter()
            .find(|metric| self.projection.value(to, *metric).is_some())?;
        let mut after = self.projection.clone();
        after.book(step);
        let before = |host| self.projection.value(host, metric);
        let excess = self.condition.excess(value);
        let enough = if chosen.share > excess { "covers" } else { "is the largest part of" };
        Some(PlannedMove {
            step,
            bytes: chosen.bytes,
            why_guest: format!(
                "its share of {} {enough} the excess of {} on {}",
                watched.show(chosen.share),
                watched.show(excess),
                view.host_name(host),
            ),
            why_host: format!(
                "least loaded of {} feasible host(s) once the guest is there",
                chosen.feasible.len()
            ),
            metric,
            from: (before(host)?, after.value(host, metric)?),
            to: (before(to)?, after.value(to, metric)?),
            gain: None,
            seconds: crate::batch::seconds(chosen.bytes, self.policy),
        })
    }

    fn why_none(&self, host: HostId) -> String {
        let view = self.projection.view();
        let left: Vec<GuestId> = self.projection.guests_on(host).collect();
        let guests = left.len();
        if guests == 0 {
            let left = if view.guests_on(host).next().is_some() { " left" } else { "" };
            return format!("{} has no guest{left}", view.host_name(host));
        }
        let metric = self.condition.metric;
        let verb = match metric.unit() {
            MetricUnit::Percent => "use",
            MetricUnit::Watts => "draw, beside what it draws at rest,",
            _ => return format!("none of its {guests} guest(s) can move"),
        };
        let share = |guest: &GuestId| self.projection.relief(*guest, host, metric);
        let shares: f64 = left.iter().filter_map(share).sum();
        let shares = metric.show(shares);
        format!("none of its {guests} guest(s) can move (together they {verb} {shares})")
    }
}

/// The cheapest guest that covers the excess alone, else the largest.
fn choose(candidates: &[Candidate], excess: f64) -> Option<&Candidate> {
    candidates
        .iter()
        .filter(|candidate| candidate.share > excess)
        .min_by(|a, b| {
            a.bytes.cmp(&b.bytes).then(a.share.total_cmp(&b.share)).then(a.guest.cmp(&b.guest))
        })
        .or_else(|| {
            candidates.iter().max_by(|a, b| {
                a.share.total_cmp(&b.share).then(b.bytes.cmp(&a.bytes)).then(b.guest.cmp(&a.guest))
            })
        })
}

fn summary(
    view: &ClusterView,
    condition: Condition,
    moves: &[PlannedMove],
    hosts: &[HostOutlook],
) -> String {
    if hosts.is_empty() {
        return format!("{condition} holds on no host; nothing to do");
    }
    let outlooks: Vec<String> = hosts
        .iter()
        .map(|outlook| {
            format!(
                "{} {} → {}{}{}",
                view.host_name(outlook.host),
                condition.metric.show(outlook.before),
                condition.metric.show(outlook.after),
                if outlook.estimate { " by estimate" } else { "" },
                if outlook.unrelieved.is_some() { " (not relieved)" } else { "" }
            )
        })
        .collect();
    format!("{} move(s): {}", moves.len(), outlooks.join(", "))
}
