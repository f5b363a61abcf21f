//! Move one guest because someone asked for it.

use drover_model::{ClusterView, GuestId, HostId, Metric};
use drover_rules::{Move, Projection};
use rand::Rng;

use crate::Policy;
use crate::candidate::{bytes_to_move, guest_refusals, least_loaded, targets};
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
        report.summary = format!("{name} cannot move: {}", reasons(&report));
        return (Vec::new(), report);
    }
    let (mut feasible, mut refused) = targets(&projection, &policy.placement, guest);
    if let Some(wanted) = wanted {
        feasible.retain(|host| *host == wanted);
        refused.retain(|refusal| refusal.host == Some(wanted));
    }
    report.refused = refused;
    let planned = least_loaded(&projection, guest, &feasible, rng)
        .and_then(|to| planned(&projection, guest, to, wanted.is_some(), feasible.len()));
    match planned {
        Some(step) => {
            report.summary = format!("{name} goes to {}", view.host_name(step.step.to));
            (vec![step], report)
        }
        None => {
            report.summary = format!("no host can take {name}: {}", reasons(&report));
            (Vec::new(), report)
        }
    }
}

fn planned(
    projection: &Projection<'_>,
    guest: GuestId,
    to: HostId,
    asked: bool,
    feasible: usize,
) -> Option<PlannedMove> {
    let metric = Metric::CpuUsageActive;
    let from = projection.host_of(guest)?;
    let step = Move { guest, from, to };
    let mut after = projection.clone();
    after.book(step);
    let value = |projection: &Projection<'_>, host| projection.value(host, metric).unwrap_or(0.0);
    Some(PlannedMove {
        step,
        bytes: bytes_to_move(projection, guest),
        why_guest: "it was asked for".to_owned(),
        why_host: if asked {
            "it was asked for".to_owned()
        } else {
            format!("least loaded of {feasible} feasible host(s) once the guest is there")
        },
        metric,
        from: (value(projection, from), value(&after, from)),
        to: (value(projection, to), value(&after, to)),
    })
}

fn reasons(report: &PlanReport) -> String {
    let mut texts: Vec<&str> = report.refused.iter().map(|r| r.reason.as_str()).collect();
    texts.dedup();
    texts.join("; ")
}
