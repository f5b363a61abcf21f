//! Move one guest because someone asked for it.

use std::collections::BTreeMap;

use drover_model::{ClusterView, GuestId, HostId};
use drover_rules::{Move, Projection};
use rand::Rng;

use crate::Policy;
use crate::candidate::{booked, guest_refusals, least_loaded, targets};
use crate::report::{PlanReport, PlannedMove};

pub(crate) fn place(
    view: &ClusterView,
    policy: &Policy,
    guest: GuestId,
    wanted: Option<HostId>,
    rng: &mut impl Rng,
) -> (Vec<PlannedMove>, PlanReport) {
    let projection = Projection::of(view);
    let mut report = PlanReport {
        refused: guest_refusals(&projection, &policy.placement, guest),
        ..PlanReport::default()
    };
    let name = view.guest_name(guest);
    if !report.refused.is_empty() {
        report.summary = format!("{name} cannot move: {}", reasons(view, &report));
        return (Vec::new(), report);
    }
    if let Some(home) = wanted.filter(|to| projection.host_of(guest) == Some(*to)) {
        report.summary = format!("{name} cannot move: it is on {} already", view.host_name(home));
        return (Vec::new(), report);
    }
    let (mut feasible, mut refused) = targets(&projection, &policy.placement, guest);
    if let Some(wanted) = wanted {
        feasible.retain(|host| *host == wanted);
        refused.retain(|refusal| refusal.host == Some(wanted));
    }
    report.refused = refused;
    let planned = least_loaded(&projection, guest, &feasible, rng)
        .and_then(|to| planned(&projection, policy, guest, to, wanted.is_some(), feasible.len()));
    match planned {
        Some(step) => {
            report.summary = format!("{name} goes to {}", view.host_name(step.step.to));
            (vec![step], report)
        }
        None => {
            report.summary = format!("no host can take {name}: {}", reasons(view, &report));
            (Vec::new(), report)
        }
    }
}

fn planned(
    projection: &Projection<'_>,
    policy: &Policy,
    guest: GuestId,
    to: HostId,
    asked: bool,
    feasible: usize,
) -> Option<PlannedMove> {
    let from = projection.host_of(guest)?;
    let why = "it was asked for";
    let planned = booked(&mut projection.clone(), policy, Move { guest, from, to }, why);
    let why_host = if asked {
        why.to_owned()
    } else {
        format!("least loaded of {feasible} feasible host(s) once the guest is there")
    };
    Some(PlannedMove { why_host, ..planned })
}

/// Each reason with the hosts that it holds for.
fn reasons(view: &ClusterView, report: &PlanReport) -> String {
    let mut hosts_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for refusal in &report.refused {
        let hosts = hosts_of.entry(&refusal.reason).or_default();
        hosts.extend(refusal.host.map(|host| view.host_name(host)));
    }
    if hosts_of.is_empty() {
        return "there is no other host".to_owned();
    }
    let texts = hosts_of.iter().map(|(reason, hosts)| {
        if hosts.is_empty() {
            (*reason).to_owned()
        } else {
            format!("{}: {reason}", hosts.join(", "))
        }
    });
    texts.collect::<Vec<String>>().join("; ")
}
