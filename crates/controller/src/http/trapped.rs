//! `GET /v1/baselines/{group}/trapped`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use drover_api::v1;
use drover_model::{GuestId, GuestInspection, HostId};
use drover_rules::baseline::{WhatIf, is_trapped, ways_out};

use super::Api;
use super::baselines::group_hosts;
use super::reply::{Failed, Reply, bad, missing};
use super::show::find_host;
use crate::baseline::{fits, live_cpus, shown};
use crate::records::Tables;

pub(super) async fn trapped(
    State(api): State<Arc<Api>>,
    Path(group): Path<String>,
    Query(query): Query<v1::TrappedQuery>,
) -> Reply<v1::List<v1::TrappedGuest>> {
    let (hosts, what_if, guests) = {
        let tables = api.records.read();
        let hosts: Vec<HostId> =
            group_hosts(&tables, &group)?.into_iter().map(|host| host.id).collect();
        let what_if = what_if(&tables, &query)?;
        let guests = active(&tables, &hosts);
        (hosts, what_if, guests)
    };
    let mut items = Vec::new();
    let mut wanted: Vec<(GuestId, GuestInspection, Vec<HostId>)> = Vec::new();
    for (guest, home, told) in live_cpus(&api.live, guests).await {
        match told {
            Ok(found) => wanted.push((guest, found, ways_out(&hosts, home, what_if))),
            Err(why) => items.push(named(&api.records.read(), guest, vec![why])),
        }
    }
    let answers = fits(&api.live, &wanted).await;
    let tables = api.records.read();
    for (guest, found, ways) in &wanted {
        // A guest without a CPU element has QEMU's default, which every host has.
        if found.cpu_xml.is_some() && is_trapped(&answers, *guest, ways) {
            items.push(named(&tables, *guest, reasons(&tables, &answers, *guest, ways)));
        }
    }
    items.sort_by(|a, b| a.guest.cmp(&b.guest));
    Ok(Json(v1::List { items }))
}

fn what_if(tables: &Tables, query: &v1::TrappedQuery) -> Result<WhatIf, Failed> {
    let host = |name: &String| find_host(tables, name).ok_or_else(|| missing("host", name));
    match (&query.without, &query.after_upgrade) {
        (None, None) => Ok(WhatIf::AsItIs),
        (Some(name), None) => Ok(WhatIf::Without(host(name)?)),
        (None, Some(name)) => Ok(WhatIf::LikeHost(host(name)?)),
        (Some(_), Some(_)) => {
            Err(bad("`without` and `after_upgrade` are two questions", "ask one after the other"))
        }
    }
}

fn active(tables: &Tables, hosts: &[HostId]) -> Vec<(GuestId, HostId)> {
    tables
        .guests
        .iter()
        .filter(|record| !record.absent && record.guest.state.is_active())
        .filter(|record| hosts.contains(&record.guest.host))
        .map(|record| (record.guest.id, record.guest.host))
        .collect()
}

fn named(tables: &Tables, guest: GuestId, why: Vec<String>) -> v1::TrappedGuest {
    let host = tables.guests.get(guest).map(|record| tables.host_name(record.guest.host));
    v1::TrappedGuest { guest: tables.guest_name(guest), host: host.unwrap_or_default(), why }
}

fn reasons(
    tables: &Tables,
    answers: &BTreeMap<(GuestId, HostId), drover_model::CpuFit>,
    guest: GuestId,
    ways: &[HostId],
) -> Vec<String> {
    if ways.is_empty() {
        return vec!["there is no other host in the group".to_owned()];
    }
    let why = |host: &HostId| {
        let answer = answers.get(&(guest, *host));
        format!("{} {}", tables.host_name(*host), answer.map_or_else(String::new, shown))
    };
    ways.iter().map(why).collect()
}
