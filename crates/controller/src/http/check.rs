//! `GET /v1/guests/{guest}/check`, and the same checks before a move is begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{
    ClusterView, GuestId, Host, HostId, HostState, MigrationMode, MigrationSettings,
};
use drover_rules::constraint::Constraint;
use drover_rules::preflight::{Finding, Severity, is_clear};
use drover_rules::{
    Initiative, Move, PlacementPolicy, Projection, Refusal, check_movable, check_placement,
};

use super::Api;
use super::preview::{FRESH_SAMPLES, Picture, picture};
use super::reply::{Failed, Reply, missing};
use super::settings::settings;
use super::show::{find_guest, find_host};
use crate::launch::Order;
use crate::preflight::memory::{each_once, forget, on_the_way, remember};
use crate::preflight::{
    Blocked, Candidate, Cleared, Journey, Verdicts, look, look_at_moves, usual_settings,
};
use crate::records::Tables;

pub(super) async fn check(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(query): Query<v1::CheckQuery>,
) -> Reply<v1::GuestCheck> {
    let picture = picture(&api, api.sample_interval * FRESH_SAMPLES).await?;
    let (usual, journey, candidates) = {
        let tables = api.records.read();
        let guest = find_guest(&tables, &name).ok_or_else(|| missing("guest", &name))?;
        let journey = |settings: Option<&MigrationSettings>| {
            let journey = Journey::of(&tables, guest, Initiative::Request, settings);
            journey.ok_or_else(|| missing("guest", &name))
        };
        let usual = usual_mode(&journey(None)?);
        let settings = settings(&options(&query, usual))?;
        let journey = journey(Some(&settings))?;
        let picture = standing(picture, &journey.settings);
        let targets = match &query.to {
            Some(to) => vec![find_host(&tables, to).ok_or_else(|| missing("host", to))?],
            None => others(&tables, journey.source.id),
        };
        let candidates: Vec<Candidate> = targets
            .into_iter()
            .filter_map(|target| candidate(&tables, &picture, guest, target))
            .collect();
        (usual, journey, candidates)
    };
    let names: Vec<String> = candidates.iter().map(|one| one.host.name.clone()).collect();
    let looked = look(&api.live, &journey, candidates).await;
    // Only what is well as it stands lifts what was found before.
    if options(&query, journey.settings.mode) == options(&v1::CheckQuery::default(), usual) {
        let clear = looked.iter().filter(|one| is_clear(&one.findings));
        let clear: Vec<_> = clear.map(|one| (journey.guest.id, one.host)).collect();
        forget(&api.records, &clear).await?;
    }
    let targets = names.into_iter().zip(looked).map(|(host, looked)| v1::TargetCheck {
        host,
        allowed: is_clear(&looked.findings),
        findings: looked.findings.into_iter().map(finding).collect(),
    });
    Ok(Json(v1::GuestCheck {
        guest: journey.guest.name.clone(),
        host: journey.source.name.clone(),
        mode: journey.settings.mode.as_str().to_owned(),
        targets: targets.collect(),
    }))
}

/// What of a move's options its checks look at.
fn options(query: &v1::CheckQuery, usual: MigrationMode) -> v1::MigrateOptions {
    v1::MigrateOptions {
        mode: Some(query.mode.clone().unwrap_or_else(|| usual.as_str().to_owned())),
        storage: query.storage.clone(),
        skip_cpu_check: query.skip_cpu_check,
        skip_kernel_check: query.skip_kernel_check,
        ..v1::MigrateOptions::default()
    }
}

/// How a guest would move if nobody said how.
fn usual_mode(journey: &Journey) -> MigrationMode {
    match journey.source.state {
        HostState::Unreachable => MigrationMode::Rescue,
        _ => usual_settings(&journey.guest).mode,
    }
}

/// Looks at the moves of a plan that somebody asked for, and remembers what came of it. What
/// placement constraints say has been checked where the plan was made.
pub(super) async fn look_at_plan(
    api: &Api,
    moves: &[Move],
    settings: &MigrationSettings,
    patience: Option<Duration>,
) -> Result<Verdicts, Failed> {
    let looked = look_at_moves(&api.live, &api.records, moves, settings, patience).await;
    remember(&api.records, &looked.blocked, settings, api.clock.now()).await?;
    // Well by a map of its own is not well for others.
    if settings.storage_map.is_empty() {
        forget(&api.records, &looked.pairs()).await?;
    }
    Ok(looked)
}

/// Refuses an order of which any move is blocked; all reasons of all moves are told.
pub(super) async fn admit(api: &Api, order: &mut Order) -> Result<(), Failed> {
    let moves: Vec<Move> = order.plan.moves().map(|step| step.step).collect();
    let looked = look_at_plan(api, &moves, &order.settings, None).await?;
    if !looked.blocked.is_empty() {
        return Err(refused(&api.records.read(), &looked.blocked));
    }
    order.cleared = looked.clear;
    Ok(())
}

/// What blocks these moves, with every cure once.
pub(super) fn refused(tables: &Tables, blocked: &[Blocked]) -> Failed {
    let of_each = blocked.iter().flat_map(|one| one.findings.iter().map(move |found| (one, found)));
    let causes: Vec<String> = of_each
        .clone()
        .map(|(one, finding)| {
            let (guest, to) = (tables.guest_name(one.guest), tables.host_name(one.to));
            format!("{guest} to {to}: {} ({})", finding.cause, finding.check)
        })
        .collect();
    let cures = each_once(of_each.map(|(_, finding)| finding.cure.as_str()));
    Failed(Problem::new(ProblemKind::Refused, causes.join("\n")).hint(hint(&cures)))
}

/// What can be done about a refusal.
pub(super) fn hint(cures: &[&str]) -> String {
    [cures, &["`drover guest check` shows all hosts"]].concat().join("\n")
}

/// What was found of moves that begin all the same, by guest.
pub(super) fn warnings(tables: &Tables, cleared: &[Cleared]) -> Vec<v1::MoveWarnings> {
    let with = |one: &Cleared| v1::MoveWarnings {
        guest: tables.guest_name(one.guest),
        host: tables.host_name(one.to),
        findings: one.warnings.iter().cloned().map(finding).collect(),
    };
    cleared.iter().filter(|one| !one.warnings.is_empty()).map(with).collect()
}

/// What the planner was not asked on the request's word and would have refused: said with the
/// moves that it is about.
pub(super) fn add_lifted(view: &ClusterView, placement: &PlacementPolicy, cleared: &mut [Cleared]) {
    if !placement.skips_cpu_check {
        return;
    }
    let strict = PlacementPolicy { skips_cpu_check: false, ..placement.clone() };
    let projection = Projection::of(view);
    for one in cleared {
        let against = check_placement(&projection, &strict, one.guest, one.to);
        let lifted =
            against.into_iter().filter(|refusal| refusal.constraint == Constraint::CpuModel);
        one.warnings.extend(lifted.map(|refusal| {
            Finding {
                check: refusal.constraint.as_str().to_owned(),
                severity: Severity::Warns,
                cause: format!("not kept, as was asked for: {}", refusal.reason),
                cure:
                    "leave --skip-cpu-check out to have it kept; libvirt may still refuse the CPU"
                        .to_owned(),
                everywhere: false,
            }
        }));
    }
}

/// Where a guest may go by name: an operator's word outweighs the thresholds of rules.
fn standing(picture: Picture, settings: &MigrationSettings) -> Picture {
    // And what was found before does not count: it is looked at now.
    let (ceilings, refused) = (Vec::new(), BTreeMap::new());
    let initiative = Initiative::Request;
    let placement = PlacementPolicy { ceilings, refused, initiative, ..picture.placement };
    Picture { placement: on_the_way(placement, settings), ..picture }
}

fn others(tables: &Tables, than: HostId) -> Vec<HostId> {
    let mut hosts: Vec<&Host> =
        tables.hosts.iter().map(|record| &record.host).filter(|host| host.id != than).collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts.into_iter().map(|host| host.id).collect()
}

fn candidate(
    tables: &Tables,
    picture: &Picture,
    guest: GuestId,
    target: HostId,
) -> Option<Candidate> {
    let host = tables.hosts.get(target)?.host.clone();
    let projection = Projection::of(&picture.view);
    let mut refusals = check_movable(&projection, &picture.placement, guest);
    if projection.host_of(guest) == Some(target) {
        let (constraint, reason) = (Constraint::Place, format!("it is on {} already", host.name));
        refusals.push(Refusal { constraint, reason });
    } else {
        refusals.extend(check_placement(&projection, &picture.placement, guest, target));
    }
    Some(Candidate { host, refusals })
}

pub(super) fn finding(finding: Finding) -> v1::Finding {
    v1::Finding {
        check: finding.check,
        blocks: finding.severity == Severity::Blocks,
        cause: finding.cause,
        cure: finding.cure,
    }
}
