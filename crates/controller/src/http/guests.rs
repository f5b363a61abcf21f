//! `/v1/guests`

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_lifecycle::forecast::Forecast;
use drover_model::{
    Disk, DiskSource, Guest, GuestId, Host, HostState, Metric, MigrationMode, MigrationSettings,
    Nic, NicSource, OwnerPhase, RunningQemu,
};
use drover_ports::Entity;
use drover_rules::{DiskProtection, protection};

use super::Api;
use super::auth::Caller;
use super::check::finding;
use super::reply::{Failed, Reply, bad, missing};
use super::settings::settings;
use super::show::{self, by_name, bytes, find_guest, find_host, fresh};
use super::target::{Wish, choose};
use crate::admission::{Asked, admit, rescue_hint};
use crate::events::{Draft, Severity};
use crate::launch::{LaunchError, launch};
use crate::moment::{plan_id, rfc3339};
use crate::outlook::{DRY_RUN_WINDOWS, MOVE_WINDOWS, foretell};
use crate::records::{Cause, GuestRecord, PlanRecord, Tables};
use crate::view::Over;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<v1::List<v1::Guest>> {
    let tables = api.records.read();
    let mut items: Vec<v1::Guest> = tables
        .guests
        .iter()
        .filter(|record| !record.absent)
        .map(|record| guest(&api, &tables, record))
        .collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Json(v1::List { items })
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Reply<v1::GuestDetail> {
    let tables = api.records.read();
    let record = find_guest(&tables, &name)
        .and_then(|id| tables.guests.get(id))
        .ok_or_else(|| missing("guest", &name))?;
    let owner = tables.owners.get(record.guest.id);
    let phase = owner.map_or("unknown", |owner| match owner.phase {
        OwnerPhase::Settled => "settled",
        OwnerPhase::Leaving { .. } => "leaving",
        OwnerPhase::Arriving { .. } => "arriving",
    });
    let of = &record.guest;
    Ok(Json(v1::GuestDetail {
        guest: guest(&api, &tables, record),
        hint: hint(&tables, record),
        epoch: owner.map_or(0, |owner| owner.epoch.0),
        owner_phase: phase.to_owned(),
        virt_type: of.virt_type.clone(),
        qemu_version: match &of.qemu {
            Some(RunningQemu::Known { version }) => Some(version.clone()),
            Some(RunningQemu::Replaced) | None => None,
        },
        arch: of.arch.clone(),
        machine: of.machine.clone(),
        cpu_mode: of.cpu_mode.clone(),
        cpu_model: of.cpu_model.clone(),
        current_memory_mib: of.current_memory.0,
        disks: disks(of, tables.hosts.get(of.host).map(|record| &record.host)),
        nics: of.nics.iter().map(nic).collect(),
        last_moved: record.last_moved.map(rfc3339),
        metrics: by_name(fresh(&api, Entity::Guest(of.id))),
    }))
}

fn guest(api: &Api, tables: &Tables, record: &GuestRecord) -> v1::Guest {
    let of = &record.guest;
    let latest = of.state.is_active().then(|| fresh(api, Entity::Guest(of.id))).flatten();
    let value = |metric| latest.as_ref()?.values.get(&metric).copied();
    let host = tables.hosts.get(of.host);
    let host_cores = host.map_or(0.0, |host| host.host.capabilities.cores.0);
    let reachable = host.is_some_and(|host| host.host.state == HostState::Online);
    let operation = tables
        .operations
        .iter()
        .rev()
        .find(|op| op.migration.guest == of.id && !op.migration.state.is_finished())
        .map(|op| op.migration.operation.to_string());
    v1::Guest {
        id: of.id.to_string(),
        name: of.name.clone(),
        state: if reachable { of.state.as_str() } else { "unknown" }.to_owned(),
        host: tables.host_name(of.host),
        vcpus: of.vcpus.0,
        memory_mib: of.memory.0,
        vcpu_percent: value(Metric::GuestVcpuPercent),
        host_percent: value(Metric::GuestCpuCores)
            .filter(|_| host_cores > 0.0)
            .map(|cores| cores * 100.0 / host_cores),
        resident_bytes: value(Metric::GuestResident).map(bytes),
        operation,
    }
}

/// What can be done about a guest that is out of reach, or between two hosts.
fn hint(tables: &Tables, record: &GuestRecord) -> Option<String> {
    let of_guest = tables.operations.iter().filter(|of| of.migration.guest == record.guest.id);
    let mut stands =
        of_guest.filter_map(|of| Some((of.migration.operation, of.migration.trouble()?)));
    if let Some((operation, why)) = stands.next_back() {
        return Some(format!("{}; `drover operation show {operation}` tells more", why.message));
    }
    let host = tables.hosts.get(record.guest.host)?;
    let lost = host.host.state == HostState::Unreachable;
    lost.then(|| rescue_hint(&record.guest.name, &host.host.name))
}

fn disks(guest: &Guest, host: Option<&Host>) -> Vec<v1::GuestDisk> {
    let protected = protection(guest, host);
    let with = |(disk, protected): (&Disk, DiskProtection)| v1::GuestDisk {
        protection: protected.protection.as_str().to_owned(),
        protection_reason: protected.reason,
        ..self::disk(disk)
    };
    guest.disks.iter().zip(protected).map(with).collect()
}

fn disk(disk: &Disk) -> v1::GuestDisk {
    let source = match &disk.source {
        DiskSource::File { path } => format!("file {path}"),
        DiskSource::Block { path } => format!("block {path}"),
        DiskSource::Network { protocol, name } => format!("{protocol} {name}"),
        DiskSource::Volume { pool, volume } => format!("volume {pool}/{volume}"),
        DiskSource::Empty => "empty".to_owned(),
    };
    v1::GuestDisk {
        target: disk.target.clone(),
        source,
        readonly: disk.readonly,
        cache: disk.cache.clone(),
        protection: String::new(),
        protection_reason: String::new(),
    }
}

fn nic(nic: &Nic) -> v1::GuestNic {
    let source = match &nic.source {
        NicSource::Bridge { name } => format!("bridge {name}"),
        NicSource::Network { name } => format!("network {name}"),
        NicSource::Other { name } => name.clone(),
    };
    let addresses = nic.addresses.iter().map(ToString::to_string).collect();
    v1::GuestNic { mac: nic.mac.clone(), source, addresses }
}

pub(super) async fn migrate(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::MigrateRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<v1::MigrateResponse>), Failed> {
    let Json(request) = body?;
    let settings = settings(&request.options)?;
    if request.host_is_dead && settings.mode != MigrationMode::Rescue {
        let hint = "`--mode rescue --host-is-dead` starts a guest of a dead host elsewhere";
        return Err(bad("host_is_dead is for a rescue, and this is none", hint));
    }
    let (guest, to) = {
        let tables = api.records.read();
        let guest = find_guest(&tables, &name).ok_or_else(|| missing("guest", &name))?;
        let to = match &request.to {
            Some(host) => Some(find_host(&tables, host).ok_or_else(|| missing("host", host))?),
            None => None,
        };
        (guest, to)
    };
    let settings = super::guest_policy::within(&api, guest, settings, &request.options)?;
    admitted(&api, guest, &settings, request.host_is_dead)?;
    let cause = Cause::Request { who: caller.name.clone() };
    let order = choose(&api, Wish { guest, to }, settings, cause).await?;
    let warnings = order.cleared.iter().flat_map(|one| one.warnings.iter().cloned());
    let warnings: Vec<v1::Finding> = warnings.map(finding).collect();
    let windows = if request.dry_run { DRY_RUN_WINDOWS } else { MOVE_WINDOWS };
    let target = order.plan.moves().next().map(|planned| planned.step.to);
    let forecast = match target {
        Some(to) if order.settings.mode == MigrationMode::Live => {
            let now = api.clock.now();
            foretell(&api.records, &api.live, now, (guest, to), &order.settings, windows).await
        }
        _ => None,
    };
    let (id, now) = (plan_id(), api.clock.now());
    let record = launch(&api.records, &api.engine, order, id, now, request.dry_run)
        .await
        .map_err(not_launched)?;
    if let (Some(operation), Some(forecast)) = (record.operations.first(), &forecast) {
        api.engine.keep_forecast(*operation, forecast.clone()).await;
    }
    if !request.dry_run {
        let text = format!("{} asked to move {name}: {}", caller.name, record.report.summary);
        let draft = Draft::new("audit.migrate", Severity::Info, text).plan(id);
        api.events.record(draft.guest(name)).await;
    }
    let status = if request.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = response(&api, &record, forecast.as_ref());
    Ok((status, Json(v1::MigrateResponse { warnings, ..answer })))
}

/// Whether the guest can be moved in the way that is asked for.
fn admitted(
    api: &Api,
    guest: GuestId,
    settings: &MigrationSettings,
    host_is_dead: bool,
) -> Result<(), Failed> {
    let tables = api.records.read();
    let host = tables.guests.get(guest).map(|record| record.guest.host);
    let agent_answers = host.is_some_and(|host| api.live.is_connected(host));
    let asked = Asked { host_is_dead, agent_answers };
    admit(&tables, guest, settings, asked).map_err(|refusal| {
        Failed(Problem::new(ProblemKind::Refused, refusal.reason).hint(refusal.hint))
    })
}

fn response(api: &Api, record: &PlanRecord, forecast: Option<&Forecast>) -> v1::MigrateResponse {
    let tables = api.records.read();
    let first = record.operations.first();
    let operation = first.and_then(|id| show::operation_view(&tables, &api.live, *id));
    let forecast = forecast.map(super::forecast::shown);
    let plan = show::plan(&tables, record);
    v1::MigrateResponse { operation, plan, forecast, warnings: Vec::new() }
}

/// A rule must not judge a host by samples from before a move; a request may: the operator
/// wants the guest moved, and memory is checked with what is booked.
pub(super) fn forgive_moves(
    tables: &Tables,
    series: &crate::view::Samples,
    view: &mut drover_model::ClusterView,
    over: Over,
) {
    for record in tables.hosts.iter().filter(|record| record.disturbed.is_some()) {
        let Some(host) = view.hosts.get_mut(&record.host.id) else { continue };
        host.readings = crate::view::host_readings(series, record.host.id, view.at, over, None);
    }
}

pub(super) fn not_launched(error: LaunchError) -> Failed {
    match error {
        LaunchError::Overtaken(reason) => Failed(
            Problem::new(ProblemKind::Conflict, reason)
                .hint("`drover operation list` shows what is under way"),
        ),
        LaunchError::Record(error) => error.into(),
    }
}
