//! `/v1/hosts`

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use drover_api::v1;
use drover_model::{HostId, HostState, Metric};
use drover_ports::Entity;

use super::reply::{Reply, missing};
use super::show::{age, by_name, bytes, find_host, fresh};
use super::{Api, maintenance, power};
use crate::moment::rfc3339;
use crate::records::{HostRecord, Tables};

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<v1::List<v1::Host>> {
    let tables = api.records.read();
    let mut items: Vec<v1::Host> =
        tables.hosts.iter().map(|record| host(&api, &tables, record)).collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Json(v1::List { items })
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Reply<v1::HostDetail> {
    let tables = api.records.read();
    let record = find_host(&tables, &name)
        .and_then(|id| tables.hosts.get(id))
        .ok_or_else(|| missing("host", &name))?;
    let capabilities = &record.host.capabilities;
    let cpu = capabilities.cpu.clone();
    Ok(Json(v1::HostDetail {
        host: host(&api, &tables, record),
        cpu: v1::HostCpu {
            arch: cpu.arch,
            model: cpu.model,
            vendor: cpu.vendor,
            features: cpu.features,
            microcode: cpu.microcode,
        },
        kernel: capabilities.kernel.clone(),
        qemu_version: capabilities.qemu.clone(),
        libvirt_version: capabilities.libvirt.clone(),
        virt_types: capabilities.virt_types.clone(),
        machine_types: capabilities.machine_types.clone(),
        pools: capabilities
            .pools
            .iter()
            .cloned()
            .map(|pool| v1::HostPool {
                name: pool.name,
                kind: pool.kind,
                path: pool.path,
                active: pool.active,
            })
            .collect(),
        networks: capabilities
            .networks
            .iter()
            .cloned()
            .map(|net| v1::HostNetwork { name: net.name, kind: net.kind, active: net.active })
            .collect(),
        shared_paths: capabilities.shared_paths.clone(),
        migration_address: record.host.migration_address.clone(),
        peer_uri: record.host.peer_uri.clone(),
        metrics: by_name(fresh(&api, Entity::Host(record.host.id))),
        guest_names: names_on(&tables, record.host.id),
        drain: maintenance::shown(&api, &tables, record.host.id),
    }))
}

fn host(api: &Api, tables: &Tables, record: &HostRecord) -> v1::Host {
    let host = &record.host;
    let latest = api.live.latest(Entity::Host(host.id));
    let now = fresh(api, Entity::Host(host.id));
    let value = |metric| now.as_ref().and_then(|l| l.values.get(&metric).copied());
    let heard = api.live.last_heard(host.id).unwrap_or(host.last_seen);
    let on = |active: bool| {
        let count = tables
            .guests
            .iter()
            .filter(|r| r.guest.host == host.id && !r.absent)
            .filter(|r| !active || r.guest.state.is_active())
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let state = match host.state {
        // Between the loss of the session and the deadline it is not known to be up.
        HostState::Online if !api.live.is_connected(host.id) => "connecting",
        state => state.as_str(),
    };
    let state = match power::state(tables, host.id) {
        // It came up by itself, and not all that it had is there yet.
        Some("parked") if api.live.is_connected(host.id) => state,
        Some(going) => going,
        None => state,
    };
    v1::Host {
        id: host.id.to_string(),
        name: host.name.clone(),
        state: state.to_owned(),
        last_seen: rfc3339(heard),
        cores: host.capabilities.cores.0,
        memory_bytes: host.capabilities.memory.0,
        cpu_usage_percent: value(Metric::CpuUsageActive),
        memory_available_bytes: value(Metric::MemAvailable).map(bytes),
        sample_age_seconds: latest.as_ref().map(|latest| age(api.clock.now(), latest.at)),
        guests_active: (host.state == HostState::Online).then(|| on(true)),
        guests: on(false),
        agent_version: host.agent_version.clone(),
        maintenance: maintenance::state(tables, host.id).to_owned(),
        labels: tables.labels.get(host.id).map(|of| of.labels.clone()).unwrap_or_default(),
    }
}

fn names_on(tables: &Tables, host: HostId) -> Vec<String> {
    let mut names: Vec<String> = tables
        .guests
        .iter()
        .filter(|record| record.guest.host == host && !record.absent)
        .map(|record| record.guest.name.clone())
        .collect();
    names.sort();
    names
}
