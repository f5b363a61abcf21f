//! `GET /v1/guests/{guest}/check`, and the same checks before a move is begun.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{GuestId, Host, HostId, MigrationSettings};
use drover_planner::Plan;
use drover_rules::preflight::{Finding, Severity, is_clear};
use drover_rules::{PlacementPolicy, Projection, Refusal, check_movable, check_placement};
use futures::StreamExt as _;

use super::Api;
use super::preview::{FRESH_SAMPLES, Picture, picture};
use super::reply::{Failed, Reply, missing};
use super::show::{find_guest, find_host};
use crate::launch::Order;
use crate::preflight::{Candidate, Journey, Looked, look};
use crate::records::Tables;

/// Moves of one plan that are looked at at the same time.
const MOVES_AT_ONCE: usize = 8;

pub(super) async fn check(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(query): Query<v1::CheckQuery>,
) -> Reply<v1::GuestCheck> {
    let picture = standing(picture(&api, api.sample_interval * FRESH_SAMPLES).await?);
    let (journey, candidates) = {
        let tables = api.records.read();
        let guest = find_guest(&tables, &name).ok_or_else(|| missing("guest", &name))?;
        let journey = Journey::of(&tables, guest, None).ok_or_else(|| missing("guest", &name))?;
        let targets = match &query.to {
            Some(to) => vec![find_host(&tables, to).ok_or_else(|| missing("host", to))?],
            None => others(&tables, journey.source.id),
        };
        let candidates: Vec<Candidate> = targets
            .into_iter()
            .filter_map(|target| candidate(&tables, &picture, guest, target))
            .collect();
        (journey, candidates)
    };
    let names: Vec<String> = candidates.iter().map(|one| one.host.name.clone()).collect();
    let looked = look(&api.live, &journey, candidates).await;
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

/// Refuses an order of which any move is blocked; all reasons of all moves are told. What
/// placement constraints say has been checked where the order was made.
pub(super) async fn admit(api: &Api, order: &Order) -> Result<(), Failed> {
    let journeys = journeys(&api.records.read(), &order.plan, &order.settings);
    let looking = journeys.into_iter().map(|(journey, candidate)| async move {
        let to = candidate.host.name.clone();
        let looked = look(&api.live, &journey, vec![candidate]).await;
        (journey.guest.name, to, looked)
    });
    let looked: Vec<(String, String, Vec<Looked>)> =
        futures::stream::iter(looking).buffered(MOVES_AT_ONCE).collect().await;
    let blocked: Vec<(String, Vec<Finding>)> = looked
        .into_iter()
        .map(|(guest, to, looked)| {
            let all = looked.into_iter().flat_map(|one| one.findings);
            (format!("{guest} to {to}"), all.filter(|f| f.severity == Severity::Blocks).collect())
        })
        .filter(|(_, findings): &(String, Vec<Finding>)| !findings.is_empty())
        .collect();
    if blocked.is_empty() { Ok(()) } else { Err(refused(&blocked)) }
}

fn refused(blocked: &[(String, Vec<Finding>)]) -> Failed {
    let mut causes = Vec::new();
    let mut cures: Vec<&str> = Vec::new();
    for (step, findings) in blocked {
        for finding in findings {
            causes.push(format!("{step}: {} ({})", finding.cause, finding.check));
            if !cures.contains(&finding.cure.as_str()) {
                cures.push(&finding.cure);
            }
        }
    }
    let problem = Problem::new(ProblemKind::Refused, causes.join("\n"));
    Failed(problem.hint(format!("{}\n`drover guest check` shows all hosts", cures.join("\n"))))
}

fn journeys(
    tables: &Tables,
    plan: &Plan,
    settings: &MigrationSettings,
) -> Vec<(Journey, Candidate)> {
    plan.moves()
        .filter_map(|step| {
            let journey = Journey::of(tables, step.step.guest, Some(settings))?;
            let host = tables.hosts.get(step.step.to)?.host.clone();
            Some((journey, Candidate { host, refusals: Vec::new() }))
        })
        .collect()
}

/// Where a guest may go by name: an operator's word outweighs the thresholds of rules.
fn standing(picture: Picture) -> Picture {
    let placement = PlacementPolicy { ceilings: Vec::new(), ..picture.placement };
    Picture { placement, ..picture }
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
        let (constraint, reason) = ("place".to_owned(), format!("it is on {} already", host.name));
        refusals.push(Refusal { constraint, reason });
    } else {
        refusals.extend(check_placement(&projection, &picture.placement, guest, target));
    }
    Some(Candidate { host, refusals })
}

fn finding(finding: Finding) -> v1::Finding {
    v1::Finding {
        check: finding.check,
        blocks: finding.severity == Severity::Blocks,
        cause: finding.cause,
        cure: finding.cure,
    }
}
