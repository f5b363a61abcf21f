//! `/v1/guests`

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{
    Disk, DiskSource, GuestId, HostId, HostState, Metric, MigrationSettings, Nic, NicSource,
    OwnerPhase,
};
use drover_planner::{Budget, Goal, Policy, plan};
use drover_ports::Entity;
use drover_rules::constraint::FRESH_SAMPLES;
use drover_rules::{Aggregate, PlacementPolicy};
use rand_pcg::Pcg64;

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, missing};
use super::settings::settings;
use super::show::{self, by_name, bytes, find_guest, find_host, fresh};
use crate::events::{Draft, Severity};
use crate::launch::{LaunchError, Order, launch};
use crate::moment::{plan_id, rfc3339, seed};
use crate::records::{Cause, GuestRecord, PlanRecord, Tables};
use crate::view::{Over, cluster_view, samples};

/// A request looks at so many of the newest samples: an operator's word needs fresh values,
/// not steady ones, and a host that has just joined can take a guest.
const REQUEST_SAMPLES: u32 = 2;
/// What came of a request is measured over so long.
const MEASURE_OVER: std::time::Duration = std::time::Duration::from_secs(30);

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
        epoch: owner.map_or(0, |owner| owner.epoch.0),
        owner_phase: phase.to_owned(),
        virt_type: of.virt_type.clone(),
        arch: of.arch.clone(),
        machine: of.machine.clone(),
        cpu_mode: of.cpu_mode.clone(),
        cpu_model: of.cpu_model.clone(),
        current_memory_mib: of.current_memory.0,
        disks: of.disks.iter().map(disk).collect(),
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
    let (guest, to) = {
        let tables = api.records.read();
        let guest = find_guest(&tables, &name).ok_or_else(|| missing("guest", &name))?;
        let to = match &request.to {
            Some(host) => Some(find_host(&tables, host).ok_or_else(|| missing("host", host))?),
            None => None,
        };
        (guest, to)
    };
    let order = order(&api, guest, to, settings, &caller).await?;
    let (id, now) = (plan_id(), api.clock.now());
    let record = launch(&api.records, &api.engine, order, id, now, request.dry_run)
        .await
        .map_err(not_launched)?;
    if !request.dry_run {
        let text = format!("{} asked to move {name}: {}", caller.name, record.report.summary);
        let draft = Draft::new("audit.migrate", Severity::Info, text).plan(id);
        api.events.record(draft.guest(name)).await;
    }
    let status = if request.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(response(&api, &record))))
}

fn response(api: &Api, record: &PlanRecord) -> v1::MigrateResponse {
    let tables = api.records.read();
    let first = record.operations.first();
    let operation = first.and_then(|id| show::operation_view(&tables, &api.live, *id));
    v1::MigrateResponse { operation, plan: show::plan(&tables, record) }
}

async fn order(
    api: &Api,
    guest: GuestId,
    to: Option<HostId>,
    settings: MigrationSettings,
    caller: &Caller,
) -> Result<Order, Failed> {
    let now = api.clock.now();
    let period = api.sample_interval * REQUEST_SAMPLES;
    // Read a little more: what is stale is named with its age.
    let series = samples(api.history.as_ref(), now, period * 10).await?;
    let over = Over { period, aggregate: Aggregate::Mean, sample_interval: api.sample_interval };
    let (plan, report) = {
        let tables = api.records.read();
        let mut view = cluster_view(&tables, &series, now, over);
        forgive_moves(&tables, &series, &mut view, over);
        let mut placement = PlacementPolicy {
            target_hosts: to.into_iter().collect(),
            ..crate::placement::standing(&tables)
        };
        // A host that was asked for may go over a rule's threshold: that is the
        // operator's word, and the rule will say so. A choice of ours may not.
        if to.is_none() {
            placement.ceilings = crate::reconcile::rules::ceilings(&tables);
        }
        let policy = Policy::new(Goal::Place { guest, to }, placement);
        plan(&view, &policy, &Budget::default(), &mut Pcg64::new(seed().into(), 1))
    };
    if plan.is_empty() {
        let unmeasured = report.refused.iter().any(|r| r.constraint == FRESH_SAMPLES);
        let hint = if unmeasured && to.is_none() {
            "samples come in after a few seconds: try again, or name a host with --to"
        } else {
            "`drover guest show` and `drover host show` tell what they have"
        };
        return Err(Failed(Problem::new(ProblemKind::Refused, report.summary).hint(hint)));
    }
    Ok(Order {
        plan,
        report,
        cause: Cause::Request { who: caller.name.clone() },
        settings,
        measure_over: MEASURE_OVER,
    })
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
