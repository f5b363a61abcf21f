//! `/v1/policies/power-caps`

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{HostId, Metric, Timestamp, exact_duration};
use drover_ports::Entity;
use drover_rules::limits as rule_limits;

use super::Api;
use super::auth::Caller;
use super::placement::is_name;
use super::reply::{Failed, Reply, bad, missing};
use super::show::{find_host, fresh};
use super::spans::span_within;
use crate::events::{Draft, Severity};
use crate::moment::{rfc3339, rule_id};
use crate::placement::power_cap;
use crate::records::{CappedHosts, PowerCapRecord, Tables, Txn};

/// Most caps: every plan looks at each.
const MAX_CAPS: usize = 256;
/// A row of racks; a number beyond it is a slip of the hand.
const WINDOW: RangeInclusive<Duration> = rule_limits::MIN_PERIOD..=rule_limits::MAX_PERIOD;
const MAX_WATTS: f64 = 10_000_000.0;
const EXPLAINED: &str = "docs/guide/power-rules.md explains every setting";
const WRITTEN: &str = "write `label=rack:1`, or the names of hosts";

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::SetPowerCap>, JsonRejection>,
) -> Reply<v1::PowerCap> {
    let Json(spec) = body?;
    let now = api.clock.now();
    let record = api
        .records
        .update(|tables| {
            let read = read(tables, &name, &spec, now);
            let mut txn = Txn::none();
            if let Ok(record) = &read {
                txn.change(tables.power_caps.get(record.id), record.clone());
            }
            (txn, read)
        })
        .await??;
    let text = format!(
        "{} set the power cap {name}: at most {} W of {}",
        caller.name,
        spec.watts,
        spec.hosts.join(", ")
    );
    api.events.record(Draft::new("audit.policy", Severity::Info, text)).await;
    Ok(Json(shown(&api, &api.records.read(), &record)))
}

pub(super) async fn unset(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failed> {
    api.records
        .update(|tables| {
            let mut txn = Txn::none();
            let found = tables.power_caps.iter().find(|record| record.name == name);
            if let Some(record) = found {
                txn.delete_power_cap(record.id);
            }
            (txn, found.map(drop).ok_or_else(|| missing("power cap", &name)))
        })
        .await??;
    let text = format!("{} ended the power cap {name}", caller.name);
    api.events.record(Draft::new("audit.policy", Severity::Info, text)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Every cap, by name.
pub(super) fn all(api: &Api, tables: &Tables) -> Vec<v1::PowerCap> {
    let mut caps: Vec<v1::PowerCap> =
        tables.power_caps.iter().map(|record| shown(api, tables, record)).collect();
    caps.sort_by(|a, b| a.name.cmp(&b.name));
    caps
}

fn read(
    tables: &Tables,
    name: &str,
    spec: &v1::SetPowerCap,
    now: Timestamp,
) -> Result<PowerCapRecord, Failed> {
    if !is_name(name) {
        let detail = format!("the name `{name}` must be 1 to 63 letters, digits, `-`, `_` or `.`");
        return Err(bad(detail, EXPLAINED));
    }
    if !(spec.watts > 0.0 && spec.watts <= MAX_WATTS) {
        return Err(bad("watts must be more than 0 and at most 10,000,000", EXPLAINED));
    }
    if !(1..=rule_limits::MAX_MOVES).contains(&spec.max_moves) {
        let detail = format!("max_moves must be 1 to {}", rule_limits::MAX_MOVES);
        return Err(bad(detail, EXPLAINED));
    }
    let before = tables.power_caps.iter().find(|record| record.name == name);
    if before.is_none() && tables.power_caps.len() >= MAX_CAPS {
        let detail = format!("there may be at most {MAX_CAPS} power caps");
        let problem = Problem::new(ProblemKind::LimitReached, detail);
        return Err(Failed(problem.hint("`drover policy unset power-cap` makes room")));
    }
    Ok(PowerCapRecord {
        id: before.map_or_else(rule_id, |record| record.id),
        name: name.to_owned(),
        hosts: hosts(tables, &spec.hosts)?,
        watts: spec.watts,
        window: span_within("window", &spec.window, &WINDOW)?,
        max_moves: spec.max_moves,
        set: now,
    })
}

/// A label with its value, or hosts by name.
fn hosts(tables: &Tables, words: &[String]) -> Result<CappedHosts, Failed> {
    if let [word] = words
        && let Some(text) = word.strip_prefix("label=")
    {
        let known = text.split_once(':').filter(|(label, value)| is_name(label) && is_name(value));
        let (label, value) =
            known.ok_or_else(|| bad(format!("`{word}` names no label and value"), WRITTEN))?;
        return Ok(CappedHosts::Label { label: label.to_owned(), value: value.to_owned() });
    }
    let mut hosts: Vec<HostId> = words
        .iter()
        .map(|name| find_host(tables, name).ok_or_else(|| missing("host", name)))
        .collect::<Result<_, _>>()?;
    hosts.sort_unstable();
    hosts.dedup();
    if hosts.is_empty() {
        return Err(bad("a cap needs hosts", WRITTEN));
    }
    Ok(CappedHosts::Named(hosts))
}

fn shown(api: &Api, tables: &Tables, record: &PowerCapRecord) -> v1::PowerCap {
    let cap = power_cap(tables, record);
    let drawn = |host: &HostId| {
        let watts = fresh(api, Entity::Host(*host))?.values.get(&Metric::PowerWatts).copied();
        watts.or_else(|| cap.off.contains(host).then_some(0.0))
    };
    let hosts = match &record.hosts {
        CappedHosts::Label { label, value } => vec![format!("label={label}:{value}")],
        CappedHosts::Named(hosts) => hosts.iter().map(|host| tables.host_name(*host)).collect(),
    };
    v1::PowerCap {
        name: record.name.clone(),
        spec: v1::SetPowerCap {
            hosts,
            watts: record.watts,
            window: exact_duration(record.window),
            max_moves: record.max_moves,
        },
        members: cap.hosts.iter().map(|host| tables.host_name(*host)).collect(),
        drawn_watts: cap.hosts.iter().map(drawn).sum(),
        set: rfc3339(record.set),
    }
}
