//! `DELETE /v1/hosts/{host}`: a host that will not come back.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_lifecycle::Migration;
use drover_model::HostId;
use drover_rules::{PlacementKind, PlacementRule};

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, missing};
use super::show::find_host;
use crate::events::{Draft, Severity};
use crate::records::{GuestRecord, OperationRecord, Tables, Txn};

/// Guests and operations that one commit can change beside the host itself.
const MAX_CHANGED: usize = drover_ports::MAX_CHANGES - 6;

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    query: Result<Query<v1::RemoveHostQuery>, QueryRejection>,
) -> Result<StatusCode, Failed> {
    let forget_guests = query?.0.forget_guests.unwrap_or(false);
    let connected = |host| api.live.is_connected(host);
    let removed = api
        .records
        .update(|tables| {
            let mut txn = Txn::none();
            let removed = enter(tables, &mut txn, &name, forget_guests, connected);
            (if removed.is_ok() { txn } else { Txn::none() }, removed)
        })
        .await??;
    let text = format!("{} removed host {removed}", caller.name);
    let draft = Draft::new("audit.host", Severity::Warning, text).host(removed);
    api.events.record(draft).await;
    Ok(StatusCode::NO_CONTENT)
}

fn enter(
    tables: &Tables,
    txn: &mut Txn,
    name: &str,
    forget_guests: bool,
    connected: impl Fn(HostId) -> bool,
) -> Result<String, Failed> {
    let host = find_host(tables, name).ok_or_else(|| missing("host", name))?;
    let record = tables.hosts.get(host).ok_or_else(|| missing("host", name))?;
    let name = record.host.name.clone();
    if connected(host) {
        let detail = format!("the agent of {name} is connected");
        return Err(conflict(detail, "stop drover-agent there first: then nothing is watched"));
    }
    let of_host = |op: &&OperationRecord| op.migration.from == host || op.migration.to == host;
    let operations: Vec<&OperationRecord> = tables.operations.iter().filter(of_host).collect();
    if let Some(busy) = operations.iter().find(|op| !op.migration.state.is_finished()) {
        let detail = format!("operation {} of {name} is not over", busy.migration.operation);
        return Err(conflict(detail, "`drover operation show` tells what it waits for"));
    }
    let lists = |list: &[HostId]| list.contains(&host);
    let naming = tables.rules.iter().find(|r| lists(&r.source_hosts) || lists(&r.target_hosts));
    if let Some(rule) = naming {
        let detail = format!("rule {} names {name}", rule.name);
        return Err(conflict(detail, "`drover rule update` or `drover rule delete` first"));
    }
    let emptied = emptied_rule(tables, host);
    if let Some(rule) = emptied {
        let detail = format!("placement rule {rule} would be left without a host");
        return Err(conflict(detail, "`drover placement delete` first"));
    }
    let guests: Vec<&GuestRecord> =
        tables.guests.iter().filter(|r| r.guest.host == host && !r.absent).collect();
    if !guests.is_empty() && !forget_guests {
        let detail = format!("{name} has {} guest(s), as far as is known", guests.len());
        let hint = "--forget-guests forgets them with it; they are adopted where they show up";
        return Err(conflict(detail, hint));
    }
    let owed: Vec<&OperationRecord> =
        operations.into_iter().filter(|op| owes(&op.migration, host)).collect();
    if guests.len() + owed.len() > MAX_CHANGED {
        let detail = format!("{name} has more than {MAX_CHANGED} guests and operations");
        return Err(Failed(
            Problem::new(ProblemKind::LimitReached, detail)
                .hint("let its agent connect once without them"),
        ));
    }
    for guest in guests {
        // Its owner record stays: no epoch is ever used again.
        txn.change(guest, GuestRecord { absent: true, ..guest.clone() });
    }
    for operation in owed {
        let mut paid = operation.clone();
        let migration = &mut paid.migration;
        migration.target_unclean &= migration.to != host;
        migration.source_unclean &= migration.from != host;
        txn.change(operation, paid);
    }
    txn.delete_host(host);
    txn.delete_labels_if(tables, host);
    txn.delete_maintenance_if(tables, host);
    txn.delete_watts_if(tables, host);
    txn.delete_power_if(tables, host);
    Ok(name)
}

/// Whether something of a finished move is still to be removed on this host.
fn owes(migration: &Migration, host: HostId) -> bool {
    (migration.to == host && migration.target_unclean)
        || (migration.from == host && migration.source_unclean)
}

/// A rule that pins guests to this host and no other: without it they were free to go
/// anywhere. Other rules do without the host.
fn emptied_rule(tables: &Tables, host: HostId) -> Option<String> {
    let pins = |rule: &&PlacementRule| match &rule.kind {
        PlacementKind::On { hosts, .. } => {
            hosts.iter().all(|on| *on == host || tables.hosts.get(*on).is_none())
        }
        _ => false,
    };
    let mut rules = tables.placement.iter().map(|record| &record.rule);
    rules.find(pins).map(|rule| rule.name.clone())
}

fn conflict(detail: String, hint: &str) -> Failed {
    Failed(Problem::new(ProblemKind::Conflict, detail).hint(hint))
}
