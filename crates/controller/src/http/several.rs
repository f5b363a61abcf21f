//! `POST /v1/migrations`: several guests by one plan.
//!
//! All or nothing by default: when one of the guests cannot be moved, nothing begins and every
//! refusal is told. Whoever names guests wants them all away; half of a cluster of three moved
//! is often worse than none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{GuestId, HostId, MigrationMode};
use drover_planner::{Budget, Goal, Plan, PlanReport, Policy, plan};
use drover_rules::{Initiative, Projection, audit};
use rand_pcg::Pcg64;

use super::Api;
use super::around::{Looked, Silence, plan_around};
use super::auth::Caller;
use super::check::warnings;
use super::guests::not_launched;
use super::preview::SEARCHES;
use super::reply::{Failed, bad, missing};
use super::settings::settings;
use super::show::{self, find_guest, find_host};
use crate::drain::{in_words, leaving};
use crate::events::{Draft, Severity};
use crate::launch::{MOST_IN_A_BATCH, Order, launch};
use crate::moment::{plan_id, seed};
use crate::picture::{Picture, look};
use crate::reconcile::drain::MEASURE_OVER;
use crate::records::{Cause, Tables};

/// Guests of one request: the plan with its reasons must fit into one record of a MiB.
const MOST_GUESTS: usize = 1000;

/// Somebody waits for the answer: so long are hosts asked and plans made anew. Forty guests
/// take a few seconds; what is left is looked at when its turn comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who goes where.
#[derive(Debug, Clone)]
struct Wish {
    guests: BTreeSet<GuestId>,
    from: Option<HostId>,
    to: Option<HostId>,
}

pub(super) async fn migrate(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::MigrateSeveralRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::MigrateSeveralResponse>), Failed> {
    let Json(request) = body?;
    let settings = settings(&request.options)?;
    if settings.mode != MigrationMode::Live {
        let hint = "cold and from a dead host they are moved one by one: `drover guest migrate \
                    GUEST --mode cold`";
        return Err(bad("several guests at once are moved live", hint));
    }
    let wish = wish(&api.records.read(), &request)?;
    let now = api.clock.now();
    let picture = look(&api.records, api.history.as_ref(), now, api.sample_interval).await?;
    let picture = picture.wanted_by(Initiative::Request);
    let plans = |picture| planned(picture, &wish);
    let how = (PATIENCE, Silence::Blocks);
    let looked = plan_around(&api, picture, &settings, how, plans, |found| &found.0).await?;
    let Looked { planned: (plan, report), cleared, .. } = looked;
    let (wanted, warnings) = (wish.guests, warnings(&api.records.read(), &cleared));
    let refused = refusals(&api.records.read(), &plan, &report, &wanted);
    let none = plan.is_empty();
    if !request.dry_run && (none || !(refused.is_empty() || request.skip_refused)) {
        return Err(refusal(&refused, wanted.len(), none));
    }
    let cause = Cause::Request { who: caller.name.clone() };
    let order = Order { plan, report, cause, settings, measure_over: MEASURE_OVER, cleared };
    let id = plan_id();
    let record = launch(&api.records, &api.engine, order, id, now, request.dry_run)
        .await
        .map_err(not_launched)?;
    if !request.dry_run {
        let text = format!("{} asked to move guests: {}", caller.name, record.report.summary);
        api.events.record(Draft::new("audit.migrate", Severity::Info, text).plan(id)).await;
    }
    let tables = api.records.read();
    let shown = |id: &drover_model::OperationId| show::operation_view(&tables, &api.live, *id);
    let answer = v1::MigrateSeveralResponse {
        operations: record.operations.iter().filter_map(shown).collect(),
        refused,
        plan: show::plan(&tables, &record),
        warnings,
    };
    let status = if request.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(answer)))
}

fn wish(tables: &Tables, request: &v1::MigrateSeveralRequest) -> Result<Wish, Failed> {
    let host = |name: &String| find_host(tables, name).ok_or_else(|| missing("host", name));
    let guest = |name: &String| find_guest(tables, name).ok_or_else(|| missing("guest", name));
    let to = request.to.as_ref().map(host).transpose()?;
    let from = request.from.as_ref().map(host).transpose()?;
    let guests: BTreeSet<GuestId> = match from {
        Some(_) if !request.guests.is_empty() => {
            return Err(bad("both guests and a host to empty are named", "name one or the other"));
        }
        Some(from) if to == Some(from) => {
            return Err(bad("they are there already", "name another host to go to"));
        }
        Some(from) => leaving(tables, from).into_iter().collect(),
        None => request.guests.iter().map(guest).collect::<Result<_, _>>()?,
    };
    if guests.is_empty() {
        let detail = if from.is_some() { "no guest runs there" } else { "no guest is named" };
        return Err(bad(detail, "`drover guest list` shows the guests"));
    }
    if guests.len() > MOST_GUESTS {
        let detail = format!("{} guests are more than {MOST_GUESTS}", guests.len());
        let hint = "name fewer, or empty the host with `drover host drain`";
        return Err(Failed(Problem::new(ProblemKind::LimitReached, detail).hint(hint)));
    }
    Ok(Wish { guests, from, to })
}

async fn planned(picture: Picture, wish: &Wish) -> Result<(Plan, PlanReport), Failed> {
    let _turn = SEARCHES.acquire().await.map_err(anyhow::Error::from)?;
    let wish = wish.clone();
    let searched = tokio::task::spawn_blocking(move || search(picture, &wish)).await;
    Ok(searched.map_err(anyhow::Error::from)??)
}

fn search(picture: Picture, wish: &Wish) -> anyhow::Result<(Plan, PlanReport)> {
    let Picture { view, mut placement } = picture;
    if let Some(to) = wish.to {
        placement.target_hosts = vec![to];
        // As for one guest: a host that was asked for may go over a rule's threshold.
        placement.ceilings.clear();
    }
    let goal = match wish.from {
        Some(from) => Goal::Drain { hosts: vec![from] },
        None => Goal::Several { guests: wish.guests.iter().copied().collect(), to: wish.to },
    };
    let policy = Policy::new(goal, placement);
    let budget = Budget { max_per_batch: MOST_IN_A_BATCH, ..Budget::default().for_a_queue() };
    let (plan, report) = plan(&view, &policy, &budget, &mut Pcg64::new(seed().into(), 1));
    let mut placement = policy.placement;
    placement.draining.extend(wish.from);
    let violations = audit::check_plan(&Projection::of(&view), &placement, &plan.steps());
    anyhow::ensure!(violations.is_empty(), "the plan fails its audit: {violations:?}");
    Ok((plan, report))
}

/// Guests that were to move and do not, with every reason.
fn refusals(
    tables: &Tables,
    plan: &Plan,
    report: &PlanReport,
    wanted: &BTreeSet<GuestId>,
) -> Vec<v1::BlockedGuest> {
    let moved: BTreeSet<GuestId> = plan.moves().map(|step| step.step.guest).collect();
    let mut reasons: BTreeMap<GuestId, Vec<String>> = BTreeMap::new();
    for one in report.refused.iter().filter(|one| wanted.contains(&one.guest)) {
        let text = match one.host {
            Some(host) => format!("{}: {}", tables.host_name(host), one.reason),
            None => one.reason.clone(),
        };
        reasons.entry(one.guest).or_default().push(text);
    }
    let left = wanted.difference(&moved).map(|guest| v1::BlockedGuest {
        guest: tables.guest_name(*guest),
        reasons: reasons.remove(guest).unwrap_or_else(|| {
            vec!["there is no place for it together with the others".to_owned()]
        }),
        failures: 0,
    });
    left.collect()
}

fn refusal(refused: &[v1::BlockedGuest], wanted: usize, none: bool) -> Failed {
    let named = refused.iter().map(|one| format!("{} ({})", one.guest, in_words(&one.reasons)));
    let detail = format!(
        "{} of {wanted} guest(s) cannot move: {}",
        refused.len(),
        named.collect::<Vec<_>>().join(", ")
    );
    let hint = if none {
        "`drover guest show` and `drover host show` tell what they have"
    } else {
        "nothing was begun; --skip-refused moves the others"
    };
    Failed(Problem::new(ProblemKind::Refused, detail).hint(hint))
}
