//! `POST /v1/plans/{plan}/apply`: carries out what a preview proposed, if it still holds.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::MigrationSettings;
use drover_planner::Plan;
use drover_rules::constraint::Constraint;
use drover_rules::{Initiative, Projection, audit};

use super::Api;
use super::auth::Caller;
use super::guests::not_launched;
use super::preview::{FRESH_SAMPLES, Picture, overtaken, picture};
use super::reply::{Failed, missing};
use super::show;
use crate::events::{Draft, Severity};
use crate::launch::{Order, launch};
use crate::reconcile::rules::running_plan;
use crate::records::{Cause, PlanRecord, PlanState, Tables};

const AGAIN: &str = "`drover plan preview` makes a new one";

pub(super) async fn apply(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    body: Result<Json<v1::ApplyRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::Plan>), Failed> {
    let Json(request) = body?;
    let proposed = proposed(&api.records.read(), &text)?;
    let all = proposed.plan.moves().count();
    let wanted = request.max_moves.map_or(all, |most| most as usize);
    let plan = first(&proposed.plan, wanted);
    if plan.is_empty() {
        let problem = Problem::new(ProblemKind::Refused, "the plan moves nothing");
        return Err(Failed(problem.hint("`drover plan explain` tells why")));
    }
    let period = api.sample_interval * FRESH_SAMPLES;
    // What checks have found before does not count: all of its moves are looked at now.
    let mut picture = picture(&api, period).await?;
    picture.placement.refused.clear();
    // Whoever applies it has seen whom it moves.
    picture.placement.initiative = Initiative::Request;
    check(&picture, &plan)?;
    let mut report = proposed.report;
    if wanted < all {
        report.summary = format!("the first {wanted} of {all}: {}", report.summary);
    }
    let mut order = Order {
        plan,
        report,
        cause: Cause::Request { who: caller.name.clone() },
        settings: MigrationSettings::default(),
        measure_over: period,
        cleared: Vec::new(),
    };
    super::check::admit(&api, &mut order).await?;
    let record = launch(&api.records, &api.engine, order, proposed.id, api.clock.now(), false)
        .await
        .map_err(not_launched)?;
    let text = format!("{} applied a plan: {}", caller.name, record.report.summary);
    api.events.record(Draft::new("audit.apply", Severity::Info, text).plan(record.id)).await;
    Ok((StatusCode::ACCEPTED, Json(show::plan(&api.records.read(), &record))))
}

fn proposed(tables: &Tables, text: &str) -> Result<PlanRecord, Failed> {
    let id = text.parse().ok();
    let plan = id.and_then(|id| tables.plans.get(id)).ok_or_else(|| missing("plan", text))?;
    if plan.state != PlanState::Proposed {
        return Err(overtaken(format!("the plan is {} already", plan.state.as_str()), AGAIN));
    }
    if let Some(other) = running_plan(tables) {
        let detail = format!("the plan of {} is being carried out", other.cause);
        return Err(overtaken(detail, "`drover operation list` shows what is under way"));
    }
    Ok(plan.clone())
}

/// The plan up to so many moves.
fn first(plan: &Plan, mut most: usize) -> Plan {
    let mut batches = Vec::new();
    for batch in &plan.batches {
        let some: Vec<_> = batch.iter().take(most).cloned().collect();
        most -= some.len();
        batches.push(some);
    }
    batches.retain(|batch| !batch.is_empty());
    Plan { batches }
}

/// Everything that speaks against the plan as the cluster is now.
fn check(picture: &Picture, plan: &Plan) -> Result<(), Failed> {
    let reasons = against(picture, plan);
    if reasons.is_empty() {
        return Ok(());
    }
    let unmeasured = reasons.iter().any(|(constraint, _)| *constraint == Constraint::FreshSamples);
    let hint = if unmeasured { "samples come in after a few seconds: try again" } else { AGAIN };
    let reasons: Vec<&str> = reasons.iter().map(|(_, reason)| reason.as_str()).collect();
    let detail = format!("the cluster has changed since it was planned: {}", reasons.join("; "));
    Err(overtaken(detail, hint))
}

/// Constraints and reasons.
fn against(picture: &Picture, plan: &Plan) -> Vec<(Constraint, String)> {
    let (view, projection) = (&picture.view, Projection::of(&picture.view));
    let mut walked = projection.clone();
    let mut reasons = Vec::new();
    for step in plan.moves() {
        let name = view.guest_name(step.step.guest);
        match walked.host_of(step.step.guest) {
            Some(home) if home == step.step.from => walked.book(step.step),
            Some(home) => {
                reasons.push((Constraint::Place, format!("{name} is on {}", view.host_name(home))));
            }
            None => reasons.push((Constraint::Known, format!("{name} is gone"))),
        }
    }
    if !reasons.is_empty() {
        return reasons;
    }
    let violations = audit::check_plan(&projection, &picture.placement, &plan.steps());
    let told = violations.into_iter().map(|violation| {
        let step = violation.step;
        let (guest, to) = (view.guest_name(step.guest), view.host_name(step.to));
        (violation.refusal.constraint, format!("{guest} to {to}: {}", violation.refusal.reason))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use drover_model::Metric;
    use drover_planner::PlannedMove;
    use drover_rules::{Move, PlacementPolicy};
    use drover_testkit::{Cluster, guest_id, host_id};

    use super::*;

    fn step(guest: u128, from: u128, to: u128) -> PlannedMove {
        PlannedMove {
            step: Move { guest: guest_id(guest), from: host_id(from), to: host_id(to) },
            bytes: 0,
            why_guest: String::new(),
            why_host: String::new(),
            metric: Metric::CpuUsageActive,
            from: (0.0, 0.0),
            to: (0.0, 0.0),
            gain: None,
            seconds: 0.0,
        }
    }

    #[test]
    fn fewer_moves_are_the_first_ones_in_whole_batches_as_far_as_they_go() {
        let plan = Plan { batches: vec![vec![step(1, 1, 2), step(2, 1, 2)], vec![step(3, 1, 2)]] };
        for (most, sizes) in [(0, vec![]), (1, vec![1]), (2, vec![2]), (3, vec![2, 1])] {
            let kept: Vec<usize> = first(&plan, most).batches.iter().map(Vec::len).collect();
            assert_eq!(kept, sizes, "at most {most}");
        }
    }

    #[test]
    fn a_guest_that_went_elsewhere_meanwhile_speaks_against_the_plan() {
        let cluster = Cluster::new().host(1, 4.0, 16, 50.0, 8.0).host(2, 4.0, 16, 10.0, 12.0);
        let view = cluster.guest(1, 2, 1024, 1.0).view();
        let picture = Picture { view, placement: PlacementPolicy::default() };
        let plan = Plan { batches: vec![vec![step(1, 1, 2)]] };
        let reasons = against(&picture, &plan);
        assert!(reasons.len() == 1 && reasons[0].1.contains("is on"), "{reasons:?}");
        let back = Plan { batches: vec![vec![step(1, 2, 1)]] };
        assert_eq!(against(&picture, &back), vec![]);
    }
}
