//! Where the guests of a host can go: the certificate before a drain, and each plan of it.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::{ClusterView, GuestId, HostId};
use drover_planner::{Budget, Goal, Plan, PlanReport, Policy, plan};
use drover_rules::constraint::Constraint;
use drover_rules::{Labels, Projection, audit};
use rand_pcg::Pcg64;

use crate::launch::MOST_IN_A_BATCH;
use crate::picture::Picture;

/// Reasons that one guest is named with; the plan's report has them all.
const MOST_REASONS: usize = 8;

/// Whether a host can be emptied. Its plan was checked to keep every constraint at every
/// moment of it, memory while guests hold it on both hosts included.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The moves.
    pub plan: Plan,
    /// What was weighed.
    pub report: PlanReport,
    /// Guests that cannot leave, and every host's reason.
    pub blocked: BTreeMap<GuestId, Vec<String>>,
    /// Of these, guests that may be able to once a host is measured.
    pub unclear: BTreeSet<GuestId>,
}

impl Certificate {
    /// Whether every guest can leave.
    pub fn is_feasible(&self) -> bool {
        self.blocked.is_empty()
    }

    /// Bytes to send.
    pub fn bytes(&self) -> u64 {
        self.plan.moves().map(|step| step.bytes).sum()
    }

    /// Forecast of the whole, seconds: every move shares the host's link, so the sum of what
    /// each takes alone.
    pub fn seconds(&self) -> f64 {
        // An empty sum is -0.
        self.plan.moves().map(|step| step.seconds).fold(0.0, |all, one| all + one)
    }
}

/// Hosts with all of these labels.
pub fn targets(labels: &Labels, wanted: &BTreeMap<String, String>) -> BTreeSet<HostId> {
    let with = |(label, value): (&String, &String)| -> BTreeSet<HostId> {
        let of = labels.get(label).into_iter().flatten();
        of.filter(|(_, has)| *has == value).map(|(host, _)| *host).collect()
    };
    let all = wanted.iter().map(with);
    all.reduce(|a, b| a.intersection(&b).copied().collect()).unwrap_or_default()
}

/// Plans for the guests of a host to leave it, and tells which cannot. Moves that can be made
/// at once are one batch: the queue knows how many may be under way.
pub fn certificate(
    picture: &Picture,
    host: HostId,
    to_labels: &BTreeMap<String, String>,
    seed: u64,
) -> anyhow::Result<Certificate> {
    let mut placement = picture.placement.clone();
    placement.draining.push(host);
    if !to_labels.is_empty() {
        placement.target_hosts = targets(&placement.labels, to_labels).into_iter().collect();
        // An empty list would mean every host.
        if placement.target_hosts.is_empty() {
            placement.target_hosts.push(host);
        }
    }
    let policy = Policy::new(Goal::Drain { hosts: vec![host] }, placement);
    let budget = Budget { max_per_batch: MOST_IN_A_BATCH, ..Budget::default().for_a_queue() };
    let view = &picture.view;
    let (plan, report) = plan(view, &policy, &budget, &mut Pcg64::new(seed.into(), 1));
    let steps = plan.steps();
    let violations = audit::check_plan(&Projection::of(view), &policy.placement, &steps);
    anyhow::ensure!(violations.is_empty(), "the plan fails its audit: {violations:?}");
    let blocked = blocked(view, host, &plan, &report);
    let unclear = blocked.keys().copied().filter(|guest| is_unclear(&report, *guest)).collect();
    Ok(Certificate { plan, report, blocked, unclear })
}

/// Whether there is a host against which nothing speaks but that it is not measured yet.
fn is_unclear(report: &PlanReport, guest: GuestId) -> bool {
    let of_guest = || report.refused.iter().filter(|one| one.guest == guest);
    let only_unmeasured = |host: HostId| {
        let mut against = of_guest().filter(|one| one.host == Some(host));
        against.all(|one| one.constraint == Constraint::FreshSamples)
    };
    of_guest().all(|one| one.host.is_some())
        && of_guest().filter_map(|one| one.host).any(only_unmeasured)
}

/// Active guests of the host that neither move nor are on their way, each with its reasons.
fn blocked(
    view: &ClusterView,
    host: HostId,
    plan: &Plan,
    report: &PlanReport,
) -> BTreeMap<GuestId, Vec<String>> {
    let moved: BTreeSet<GuestId> = plan.moves().map(|step| step.step.guest).collect();
    let under_way: BTreeSet<GuestId> = view.in_flight.iter().map(|flight| flight.guest).collect();
    let mut blocked = BTreeMap::new();
    for of in view.guests_on(host).filter(|of| of.guest.state.is_active()) {
        let guest = of.guest.id;
        if moved.contains(&guest) || under_way.contains(&guest) {
            continue;
        }
        let refused = report.refused.iter().filter(|refused| refused.guest == guest);
        let mut reasons: Vec<String> = refused
            .filter(|refused| refused.host != Some(host))
            .map(|refused| match refused.host {
                Some(to) => format!("{}: {}", view.host_name(to), refused.reason),
                None => refused.reason.clone(),
            })
            .collect();
        if reasons.is_empty() {
            let stuck = report.stuck.contains(&guest);
            let why = if stuck {
                "no order of moves lets it go: others would have to leave their places first, \
                 and there is room for them nowhere"
            } else {
                "each host alone would take it, but not together with the others that leave"
            };
            reasons.push(why.to_owned());
        }
        blocked.insert(guest, reasons);
    }
    blocked
}

/// A guest's reasons as one sentence.
pub fn in_words(reasons: &[String]) -> String {
    let mut text = reasons.iter().take(MOST_REASONS).cloned().collect::<Vec<_>>().join("; ");
    if reasons.len() > MOST_REASONS {
        text.push_str(&format!("; and {} more", reasons.len() - MOST_REASONS));
    }
    text
}

#[cfg(test)]
mod tests {
    use drover_rules::PlacementPolicy;
    use drover_testkit::{Cluster, guest_id, host_id};

    use super::*;

    fn picture(cluster: Cluster) -> Picture {
        Picture { view: cluster.view(), placement: PlacementPolicy::default() }
    }

    #[test]
    fn moves_that_need_nothing_of_each_other_are_one_batch() {
        let mut cluster = Cluster::new().host(1, 16.0, 64, 40.0, 20.0);
        cluster = cluster.host(2, 16.0, 64, 5.0, 60.0).host(3, 16.0, 64, 5.0, 60.0);
        for n in 1..=12 {
            cluster = cluster.guest(n, 1, 1024, 0.1);
        }
        let found = certificate(&picture(cluster), host_id(1), &BTreeMap::new(), 1).unwrap();
        assert!(found.is_feasible(), "{:?}", found.blocked);
        assert_eq!((found.plan.batches.len(), found.plan.moves().count()), (1, 12));
        assert_eq!(found.bytes(), 12 << 30);
    }

    #[test]
    fn a_guest_that_no_host_can_take_is_named_with_every_hosts_reason() {
        let cluster = Cluster::new()
            .host(1, 16.0, 64, 40.0, 20.0)
            .host(2, 16.0, 64, 5.0, 4.0)
            .host(3, 16.0, 64, 5.0, 3.0)
            .guest(1, 1, 1024, 0.1)
            .guest(2, 1, 8192, 0.1);
        let found = certificate(&picture(cluster), host_id(1), &BTreeMap::new(), 1).unwrap();
        assert!(!found.is_feasible());
        let named: Vec<_> = found.blocked.keys().copied().collect();
        assert_eq!(named, [guest_id(2)]);
        let text = in_words(&found.blocked[&guest_id(2)]);
        assert!(text.contains("h2: it needs") && text.contains("h3: it needs"), "{text}");
        assert_eq!(found.plan.moves().count(), 1, "the other can leave");
    }

    #[test]
    fn labels_say_where_guests_may_go() {
        let cluster = Cluster::new()
            .host(1, 16.0, 64, 40.0, 20.0)
            .host(2, 16.0, 64, 5.0, 60.0)
            .host(3, 16.0, 64, 5.0, 60.0)
            .guest(1, 1, 1024, 0.1);
        let mut picture = picture(cluster);
        let racks = [(host_id(2), "r1".to_owned()), (host_id(3), "r2".to_owned())];
        picture.placement.labels.insert("rack".to_owned(), BTreeMap::from(racks));
        let to = |rack: &str| BTreeMap::from([("rack".to_owned(), rack.to_owned())]);
        let found = certificate(&picture, host_id(1), &to("r2"), 1).unwrap();
        assert_eq!(found.plan.moves().next().unwrap().step.to, host_id(3));
        let none = certificate(&picture, host_id(1), &to("r9"), 1).unwrap();
        assert!(!none.is_feasible(), "no host has the label");
    }
}
