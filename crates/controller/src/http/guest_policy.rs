//! `/v1/guests/{guest}/policy`

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{GuestId, MigrationSettings};

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, bad, missing};
use super::settings::DOWNTIME_MS;
use super::show::find_guest;
use crate::events::{Draft, Severity};
use crate::guest_policy::of;
use crate::records::{GuestPolicyRecord, Tables, Txn};

/// Priorities: room for a few hundred classes in either direction, and no more to type.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Reply<v1::GuestPolicy> {
    let tables = api.records.read();
    let guest = find_guest(&tables, &name).ok_or_else(|| missing("guest", &name))?;
    Ok(Json(shown(&tables, &of(&tables, guest))))
}

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::SetGuestPolicy>, JsonRejection>,
) -> Reply<v1::GuestPolicy> {
    let Json(wanted) = body?;
    if wanted.max_downtime_ms.is_some_and(|ms| !DOWNTIME_MS.contains(&ms)) {
        return Err(bad("max_downtime_ms must be 1 to 2,000,000", "1,000 where nothing is said"));
    }
    if wanted.priority.is_some_and(|priority| !PRIORITIES.contains(&priority)) {
        return Err(bad("priority must be -1000 to 1000", "0 where nothing is said"));
    }
    let stored = api
        .records
        .update(|tables| {
            let Some(guest) = find_guest(tables, &name) else { return (Txn::none(), None) };
            let before = of(tables, guest);
            let after = GuestPolicyRecord {
                guest,
                max_downtime_ms: wanted.max_downtime_ms.or(before.max_downtime_ms),
                auto_converge: wanted.auto_converge.or(before.auto_converge),
                post_copy: wanted.post_copy.or(before.post_copy),
                priority: wanted.priority.or(before.priority),
                probe: wanted.probe.or(before.probe),
            };
            let mut txn = Txn::none();
            txn.change(tables.guest_policies.get(guest), after.clone());
            (txn, Some(after))
        })
        .await?
        .ok_or_else(|| missing("guest", &name))?;
    let text = format!("{} changed how {name} may be moved", caller.name);
    api.events.record(Draft::new("audit.guest_policy", Severity::Info, text).guest(name)).await;
    Ok(Json(shown(&api.records.read(), &stored)))
}

pub(super) async fn unset(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failed> {
    api.records
        .update(|tables| {
            let mut txn = Txn::none();
            let guest = find_guest(tables, &name);
            if let Some(guest) = guest {
                txn.delete_guest_policy_if(tables, guest);
            }
            (txn, guest)
        })
        .await?
        .ok_or_else(|| missing("guest", &name))?;
    let text = format!("{} let {name} be moved as every guest", caller.name);
    api.events.record(Draft::new("audit.guest_policy", Severity::Info, text).guest(name)).await;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(tables: &Tables, record: &GuestPolicyRecord) -> v1::GuestPolicy {
    v1::GuestPolicy {
        guest: tables.guest_name(record.guest),
        max_downtime_ms: record.longest_pause_ms(),
        max_downtime_is_limit: record.max_downtime_ms.is_some(),
        auto_converge: record.auto_converge,
        post_copy: record.post_copy,
        priority: record.priority(),
        probe: record.is_probed(),
    }
}

/// The settings of a request, within what the guest allows and with its policy filled in.
pub(super) fn within(
    api: &Api,
    guest: GuestId,
    settings: MigrationSettings,
    options: &v1::MigrateOptions,
) -> Result<MigrationSettings, Failed> {
    let policy = of(&api.records.read(), guest);
    let named = options.max_downtime_ms.is_some();
    match policy.forbids(&settings, named) {
        Some(reason) => Err(Failed(
            Problem::new(ProblemKind::Refused, reason)
                .hint("`drover guest policy` shows and `drover guest set` changes what it allows"),
        )),
        None => Ok(policy.fill(settings, named)),
    }
}
