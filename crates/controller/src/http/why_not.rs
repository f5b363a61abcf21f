//! `POST /v1/plans/{plan}/why-not`: why a guest does not go to a host, judged now.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use drover_api::v1;
use drover_model::{GuestId, HostId, Metric};
use drover_planner::Plan;
use drover_rules::{HostLoad, Initiative, Projection, Refusal, check_movable, check_placement};

use super::Api;
use super::preview::{FRESH_SAMPLES, Picture, picture};
use super::reply::{Reply, missing};
use super::show::{bytes, find_guest, find_host};
use crate::records::PlanState;

pub(super) async fn why_not(
    State(api): State<Arc<Api>>,
    Path(text): Path<String>,
    body: Result<Json<v1::WhyNotRequest>, JsonRejection>,
) -> Reply<v1::WhyNot> {
    let Json(request) = body?;
    let (plan, guest, host, initiative) = {
        let tables = api.records.read();
        let id = text.parse().ok();
        let record =
            id.and_then(|id| tables.plans.get(id)).ok_or_else(|| missing("plan", &text))?;
        let guest = find_guest(&tables, &request.guest);
        // What the plan moves was free to go.
        let moves = record.plan.moves().any(|step| Some(step.step.guest) == guest);
        let initiative = if moves { Initiative::Request } else { Initiative::Own };
        let host = find_host(&tables, &request.host);
        // What a plan has done shows in the cluster; what it proposes is thought of here.
        let ahead = record.state == PlanState::Proposed;
        (
            if ahead { record.plan.clone() } else { Plan::default() },
            guest.ok_or_else(|| missing("guest", &request.guest))?,
            host.ok_or_else(|| missing("host", &request.host))?,
            initiative,
        )
    };
    let mut picture = picture(&api, api.sample_interval * FRESH_SAMPLES).await?;
    picture.placement.initiative = initiative;
    Ok(Json(judge(&picture, &plan, guest, host)))
}

fn judge(picture: &Picture, plan: &Plan, guest: GuestId, host: HostId) -> v1::WhyNot {
    let view = &picture.view;
    let mut others = Projection::of(view);
    for step in plan.moves().filter(|step| step.step.guest != guest) {
        others.book(step.step);
    }
    let last = plan.moves().filter(|step| step.step.guest == guest).last();
    let home = others.host_of(guest);
    let target = last.map(|step| step.step.to).or(home);
    let mut refusals = check_movable(&others, &picture.placement, guest);
    if home != Some(host) {
        refusals.extend(check_placement(&others, &picture.placement, guest, host));
    }
    let load = |on: HostId| target_load(&others, home, guest, on);
    let (asked, chosen) = (load(host), target.map(load));
    let (guest_name, host_name) = (view.guest_name(guest), view.host_name(host));
    let summary = if target == Some(host) {
        format!("{guest_name} is on {host_name} with this plan")
    } else if refusals.is_empty() {
        let chosen = chosen
            .as_ref()
            .map_or_else(String::new, |chosen| format!("; the plan has it on {}", loaded(chosen)));
        format!("nothing forbids it: {guest_name} on {}{chosen}", loaded(&asked))
    } else {
        let reasons: Vec<&str> = refusals.iter().map(|one| one.reason.as_str()).collect();
        format!("{guest_name} cannot go to {host_name}: {}", reasons.join("; "))
    };
    let refused = refusals.into_iter().map(|Refusal { constraint, reason }| v1::RefusedMove {
        guest: guest_name.clone(),
        host: Some(host_name.clone()),
        constraint: constraint.to_string(),
        reason,
    });
    let refused: Vec<v1::RefusedMove> = refused.collect();
    v1::WhyNot {
        guest: guest_name.clone(),
        host: host_name.clone(),
        allowed: refused.is_empty(),
        refused,
        asked: Some(asked),
        chosen,
        summary,
    }
}

/// How a host is loaded with the guest on it.
fn target_load(
    others: &Projection<'_>,
    home: Option<HostId>,
    guest: GuestId,
    on: HostId,
) -> v1::TargetLoad {
    let load: Option<HostLoad> =
        if home == Some(on) { others.load(on) } else { others.after_arrival(guest, on) };
    let value = |metric| load.and_then(|load| load.value(metric));
    v1::TargetLoad {
        host: others.view().host_name(on),
        cpu_usage_percent: value(Metric::CpuUsageActive),
        memory_available_bytes: value(Metric::MemAvailable).map(bytes),
    }
}

fn loaded(load: &v1::TargetLoad) -> String {
    let cpu = load.cpu_usage_percent;
    let cpu = cpu.map_or_else(|| "not measured".to_owned(), |cpu| format!("{cpu:.1} % CPU"));
    format!("{} ({cpu})", load.host)
}

#[cfg(test)]
mod tests {
    use drover_rules::PlacementPolicy;
    use drover_testkit::{Cluster, guest_id, host_id};

    use super::*;

    fn picture() -> Picture {
        let cluster = Cluster::new().host(1, 4.0, 16, 50.0, 8.0).host(2, 4.0, 16, 10.0, 12.0);
        let view = cluster.guest(1, 1, 1024, 1.0).view();
        Picture { view, placement: PlacementPolicy::default() }
    }

    #[test]
    fn what_is_allowed_is_told_with_both_loads() {
        let answer = judge(&picture(), &Plan::default(), guest_id(1), host_id(2));
        assert!(answer.allowed, "{}", answer.summary);
        assert_eq!(answer.asked.unwrap().cpu_usage_percent, Some(35.0));
        assert_eq!(answer.chosen.unwrap().cpu_usage_percent, Some(50.0));
    }

    #[test]
    fn what_forbids_it_is_told_by_name() {
        let mut picture = picture();
        picture.placement.draining.push(host_id(2));
        let answer = judge(&picture, &Plan::default(), guest_id(1), host_id(2));
        assert!(!answer.allowed && answer.refused[0].constraint == "draining", "{answer:?}");
    }
}
