//! `POST /v1/plans/preview`: what would be done, also under a what-if.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{ClusterView, HostId, Metric, MigrationSettings, Reading, Timestamp};
use drover_planner::{Budget, Goal, Plan, PlanReport, Policy, plan};
use drover_rules::{
    Comparison, Initiative, PlacementPolicy, Projection, audit, limits as rule_limits,
};
use rand_pcg::Pcg64;
use tokio::sync::Semaphore;

use super::Api;
use super::auth::Caller;
use super::guests::forgive_moves;
use super::policies::level;
use super::reply::{Failed, bad, missing};
use super::show::{self, find_guest, find_host};
use super::spans::span_within;
use crate::launch::{Order, launch};
use crate::moment::{plan_id, seed};
use crate::placement::standing;
use crate::reconcile::rules::ceilings;
use crate::records::{Cause, Tables};
use crate::view::{Over, Samples, cluster_view, samples};

/// What is weighed against each other is averaged over so many of the newest samples: enough
/// to be steady, few enough for a cluster that has just come up.
const STEADY_SAMPLES: u32 = 6;
/// Whether something is allowed needs fresh values, not steady ones.
pub(super) const FRESH_SAMPLES: u32 = 2;
/// Searches at once: each takes a whole core, and agents must be answered meanwhile.
pub(super) static SEARCHES: Semaphore = Semaphore::const_new(1);
/// Moves and refusals that are stored of one plan: at 400 bytes each, less than the MiB that
/// a record may take.
const MAX_STORED: usize = 1000;
/// Shortest and longest window that can be asked for.
const PERIOD: RangeInclusive<Duration> = Duration::from_secs(1)..=rule_limits::MAX_PERIOD;
/// Moves of a preview where no number is given.
const MAX_MOVES: usize = 16;
/// The longest search that someone waits for: the step after takes twice as long.
const MOST_EFFORT: u8 = 8;
/// What a placement must stay clear of where `threshold` is asked for.
const THRESHOLDS: RangeInclusive<f64> = 1.0..=100.0;

/// A cluster that is looked at, and what every plan over it must keep.
pub(super) struct Picture {
    pub(super) view: ClusterView,
    pub(super) placement: PlacementPolicy,
}

pub(super) async fn preview(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::PreviewRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::Plan>), Failed> {
    let Json(request) = body?;
    let (goal, gone) = {
        let tables = api.records.read();
        (goal(&tables, &request.goal)?, hosts(&tables, &request.without)?)
    };
    let period = match &request.period {
        Some(text) => span_within("period", text, &PERIOD)?,
        None => api.sample_interval * samples_for(&goal),
    };
    let budget = budget(&request, &goal, crate::queue::budget(&api.records.read()))?;
    let mut picture = picture(&api, period).await?;
    what_if(&mut picture.placement, request.threshold)?;
    picture.placement.initiative = initiative(&goal);
    let _turn = SEARCHES.acquire().await.map_err(anyhow::Error::from)?;
    let searched = tokio::task::spawn_blocking(move || search(picture, goal, gone, budget)).await;
    let (plan, report) = searched.map_err(anyhow::Error::from)??;
    let order = Order {
        plan,
        report,
        cause: Cause::Request { who: caller.name },
        settings: MigrationSettings::default(),
        measure_over: period,
        cleared: Vec::new(),
    };
    let record = launch(&api.records, &api.engine, order, plan_id(), api.clock.now(), true)
        .await
        .map_err(super::guests::not_launched)?;
    Ok((StatusCode::CREATED, Json(show::plan(&api.records.read(), &record))))
}

/// The cluster as it is measured now, over the newest samples, whatever was moved lately:
/// what was asked for by a person does not wait.
pub(super) async fn picture(api: &Api, period: Duration) -> Result<Picture, Failed> {
    let now: Timestamp = api.clock.now();
    let series: Samples = samples(api.history.as_ref(), now, period * 2).await?;
    let aggregate = drover_rules::Aggregate::Mean;
    let over = Over { period, aggregate, sample_interval: api.sample_interval };
    let tables = api.records.read();
    let mut view = cluster_view(&tables, &series, now, over);
    forgive_moves(&tables, &series, &mut view, over);
    let placement = PlacementPolicy { ceilings: ceilings(&tables), ..standing(&tables) };
    Ok(Picture { view, placement })
}

const fn samples_for(goal: &Goal) -> u32 {
    match goal {
        Goal::Place { .. } | Goal::Repair | Goal::Resize { .. } => FRESH_SAMPLES,
        _ => STEADY_SAMPLES,
    }
}

/// Whom a person names moves on a person's word; whom the search finds does not.
const fn initiative(goal: &Goal) -> Initiative {
    match goal {
        Goal::Place { .. } | Goal::Several { .. } | Goal::Drain { .. } => Initiative::Request,
        _ => Initiative::Own,
    }
}

fn hosts(tables: &Tables, names: &[String]) -> Result<Vec<HostId>, Failed> {
    names.iter().map(|name| find_host(tables, name).ok_or_else(|| missing("host", name))).collect()
}

fn goal(tables: &Tables, wanted: &v1::PreviewGoal) -> Result<Goal, Failed> {
    let guest = |name: &String| find_guest(tables, name).ok_or_else(|| missing("guest", name));
    let host = |name: &String| find_host(tables, name).ok_or_else(|| missing("host", name));
    Ok(match wanted {
        v1::PreviewGoal::Balance { level: number } => Goal::Balance { level: level(*number)? },
        v1::PreviewGoal::Drain { hosts: names } => {
            if names.is_empty() {
                return Err(bad("no host is named", "name the hosts to empty"));
            }
            Goal::Drain { hosts: hosts(tables, names)? }
        }
        v1::PreviewGoal::Repair => Goal::Repair,
        v1::PreviewGoal::Consolidate { spare } => Goal::Consolidate { spare: *spare as usize },
        v1::PreviewGoal::Resize { guest: name, vcpus, memory_mib } => {
            if *vcpus == 0 || *memory_mib == 0 {
                return Err(bad("a guest has at least one vCPU and 1 MiB", "4,8192 for example"));
            }
            Goal::Resize { guest: guest(name)?, vcpus: *vcpus, memory_mib: *memory_mib }
        }
        v1::PreviewGoal::Place { guest: name, to } => {
            Goal::Place { guest: guest(name)?, to: to.as_ref().map(host).transpose()? }
        }
    })
}

fn budget(request: &v1::PreviewRequest, goal: &Goal, limits: Budget) -> Result<Budget, Failed> {
    let effort = request.effort.unwrap_or(limits.effort);
    if effort > MOST_EFFORT {
        return Err(bad(format!("effort must be 0 to {MOST_EFFORT}"), "4 is the default"));
    }
    let empties = matches!(goal, Goal::Drain { .. } | Goal::Consolidate { .. });
    let max_moves = match request.max_moves {
        Some(0) => return Err(bad("max_moves must be at least 1", "a preview moves nothing")),
        Some(_) if matches!(goal, Goal::Drain { .. }) => {
            let hint = "`drover plan apply ID --max-moves N` makes only the first of its moves";
            return Err(bad("a drain is planned whole", hint));
        }
        Some(number) => number as usize,
        None if empties => usize::MAX,
        None => MAX_MOVES,
    };
    Ok(Budget { max_moves, effort, ..limits })
}

/// Puts the CPU thresholds of all rules at another value; one for all hosts where no rule
/// has any.
fn what_if(placement: &mut PlacementPolicy, threshold: Option<f64>) -> Result<(), Failed> {
    let Some(threshold) = threshold else { return Ok(()) };
    if !THRESHOLDS.contains(&threshold) {
        return Err(bad("a CPU threshold is 1 to 100 percent", "for example 70"));
    }
    let metric = Metric::CpuUsageActive;
    let mut any = false;
    for ceiling in &mut placement.ceilings {
        if ceiling.condition.metric == metric {
            ceiling.condition.threshold = threshold;
            any = true;
        }
    }
    if !any {
        let condition =
            drover_rules::Condition { metric, comparison: Comparison::Above, threshold };
        let rule = "what if".to_owned();
        placement.ceilings.push(drover_rules::constraint::Ceiling {
            condition,
            hosts: vec![],
            watched: vec![],
            rule,
        });
    }
    Ok(())
}

/// Plans for the goal; where hosts are to be gone, first for their guests and then for the
/// goal on what is left.
fn search(
    picture: Picture,
    goal: Goal,
    gone: Vec<HostId>,
    budget: Budget,
) -> anyhow::Result<(Plan, PlanReport)> {
    let mut rng = Pcg64::new(seed().into(), 1);
    let Picture { view, mut placement } = picture;
    placement.draining.extend(&gone);
    let (mut whole, mut report) = if gone.is_empty() {
        plan(&view, &Policy::new(goal, placement.clone()), &budget, &mut rng)
    } else {
        let all = Budget { max_moves: usize::MAX, ..budget };
        let policy = Policy::new(Goal::Drain { hosts: gone.clone() }, placement.clone());
        let (left, of_leaving) = plan(&view, &policy, &all, &mut rng);
        let rest = without(&view, &left, &gone);
        let (then, report) = plan(&rest, &policy.with_goal(goal), &budget, &mut rng);
        after_leaving(&view, &gone, (left, of_leaving), (then, report))
    };
    whole.batches.retain(|batch| !batch.is_empty());
    report.unknown = unmeasured(&view);
    bound(&mut whole, &mut report);
    let violations = audit::check_plan(&Projection::of(&view), &placement, &whole.steps());
    anyhow::ensure!(violations.is_empty(), "the plan fails its audit: {violations:?}");
    Ok((whole, report))
}

/// Keeps plan and report small enough to be stored.
fn bound(plan: &mut Plan, report: &mut PlanReport) {
    let all = plan.moves().count();
    if all > MAX_STORED {
        let mut room = MAX_STORED;
        plan.batches.retain(|batch| {
            let fits = batch.len() <= room;
            room = if fits { room - batch.len() } else { 0 };
            fits
        });
        report.summary.push_str(&format!("; of its {all} moves only the first are kept"));
    }
    let refused = report.refused.len();
    if refused > MAX_STORED {
        report.refused.truncate(MAX_STORED);
        report.summary.push_str(&format!("; {MAX_STORED} of {refused} refusals are kept"));
    }
}

/// Both plans and both reports as one.
fn after_leaving(
    view: &ClusterView,
    gone: &[HostId],
    (mut whole, left): (Plan, PlanReport),
    (then, mut report): (Plan, PlanReport),
) -> (Plan, PlanReport) {
    let names: Vec<String> = gone.iter().map(|host| view.host_name(*host)).collect();
    let leaving = whole.moves().count();
    whole.batches.extend(then.batches);
    report.summary =
        format!("without {}: {}; then {}", names.join(", "), left.summary, report.summary);
    // The moves that empty the hosts come first, whatever else is wanted.
    for point in &mut report.front {
        point.moves += leaving;
    }
    report.broken.0 = left.broken.0;
    report.unplaced.extend(left.unplaced);
    report.refused.extend(left.refused);
    (whole, report)
}

/// Hosts that have no value, with the reason.
fn unmeasured(view: &ClusterView) -> Vec<(HostId, String)> {
    let reason = |host: &drover_model::HostView| {
        host.readings.iter().find_map(|(metric, reading)| match reading {
            Reading::Missing(reason) => Some(format!("{metric}: {reason}")),
            Reading::Known { .. } => None,
        })
    };
    view.hosts.iter().filter_map(|(id, host)| Some((*id, reason(host)?))).collect()
}

/// The cluster after a plan, with some hosts and whoever is still there taken out.
fn without(view: &ClusterView, done: &Plan, gone: &[HostId]) -> ClusterView {
    let mut projection = Projection::of(view);
    let mut after = view.clone();
    for step in done.moves() {
        projection.book(step.step);
        if let Some(guest) = after.guests.get_mut(&step.step.guest) {
            guest.guest.host = step.step.to;
        }
    }
    for (id, host) in &mut after.hosts {
        for (metric, reading) in &mut host.readings {
            let booked = projection.value(*id, *metric);
            if let (Reading::Known { value, .. }, Some(booked)) = (reading, booked) {
                *value = booked;
            }
        }
    }
    after.hosts.retain(|id, _| !gone.contains(id));
    after.guests.retain(|_, guest| !gone.contains(&guest.guest.host));
    after
}

/// A request that cannot be met as things are, with the reasons.
pub(super) fn overtaken(detail: String, hint: &str) -> Failed {
    Failed(Problem::new(ProblemKind::Conflict, detail).hint(hint))
}

#[cfg(test)]
mod tests {
    use drover_rules::Move;
    use drover_testkit::{Cluster, guest_id, host_id};

    use super::*;

    #[test]
    fn a_cluster_without_a_host_has_its_guests_elsewhere_with_their_load() {
        let view = Cluster::new()
            .host(1, 4.0, 16, 50.0, 8.0)
            .host(2, 4.0, 16, 10.0, 12.0)
            .guest(1, 1, 1024, 1.0)
            .view();
        let goal = Goal::Place { guest: guest_id(1), to: Some(host_id(2)) };
        let policy = Policy::new(goal, PlacementPolicy::default());
        let (moves, _) = plan(&view, &policy, &Budget::default(), &mut Pcg64::new(1, 1));
        let step = Move { guest: guest_id(1), from: host_id(1), to: host_id(2) };
        assert_eq!(moves.moves().next().unwrap().step, step);
        let rest = without(&view, &moves, &[host_id(1)]);
        assert_eq!(rest.hosts.len(), 1);
        assert_eq!(rest.guests[&guest_id(1)].guest.host, host_id(2));
        let value = rest.host_value(host_id(2), Metric::CpuUsageActive).unwrap();
        assert!((value - 35.0).abs() < 1e-9, "10 % and one of four cores, not {value}");
    }
}
