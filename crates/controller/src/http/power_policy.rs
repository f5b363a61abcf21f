//! `/v1/policies/power`

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{Timestamp, exact_duration};
use drover_planner::power::{PowerLevel, PowerPolicy};

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, bad, missing};
use super::show::find_host;
use super::spans::span_within;
use crate::events::{Draft, Severity};
use crate::moment::rfc3339;
use crate::records::{PolicyName, PowerPolicyRecord, Tables, Txn};
use crate::saving;

/// More in reserve than the largest cluster has hosts is a slip.
const MAX_RESERVE: u32 = 1000;
/// Looking at each set of hosts that may fail takes time.
const MAX_FAILURES: u8 = 8;
/// A week has few habits; each turn looks at every window.
const MAX_WINDOWS: usize = 64;
/// Below a minute a host would flap; over a day it is no minimum but a schedule.
const MINIMUM: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(86_400);
const EXPLAINED: &str = "docs/guide/power-levels.md explains every setting";

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::SetPower>, JsonRejection>,
) -> Reply<v1::PowerPolicy> {
    let Json(spec) = body?;
    let now = api.clock.now();
    let set = api
        .records
        .update(|tables| match read(tables, &spec, now) {
            Ok(record) => {
                let mut txn = Txn::none();
                txn.replace(record.clone());
                (txn, Ok(record))
            }
            Err(failed) => (Txn::none(), Err(failed)),
        })
        .await?;
    let record = set?;
    let only = if spec.suggest { ", suggesting only" } else { "" };
    let text = format!("{} set the power policy: level {}{only}", caller.name, spec.level);
    api.events.record(Draft::new("audit.policy", Severity::Info, text)).await;
    Ok(Json(shown(&api.records.read(), &record)))
}

pub(super) async fn unset(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, Failed> {
    api.records
        .update(|tables| {
            let mut txn = Txn::none();
            let there = tables.power_policy.get(PolicyName::Power).is_some();
            txn.delete_power_policy_if(tables);
            (txn, if there { Ok(()) } else { Err(not_set()) })
        })
        .await??;
    let text = format!("{} ended the power policy; what sleeps stays asleep", caller.name);
    api.events.record(Draft::new("audit.policy", Severity::Info, text)).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn decision(State(api): State<Arc<Api>>) -> Reply<v1::PowerDecision> {
    let tables = api.records.read();
    if tables.power_policy.get(PolicyName::Power).is_none() {
        return Err(not_set());
    }
    let turn = tables.power_turn.get(PolicyName::Power);
    turn.map(|turn| Json(turn.told.clone())).ok_or_else(|| {
        Failed(
            Problem::new(ProblemKind::NotFound, "the power policy has not had a turn yet")
                .hint("there is one a minute"),
        )
    })
}

fn not_set() -> Failed {
    Failed(
        Problem::new(ProblemKind::NotFound, "there is no power policy")
            .hint("`drover policy set power --level 3` makes one"),
    )
}

fn read(tables: &Tables, spec: &v1::SetPower, now: Timestamp) -> Result<PowerPolicyRecord, Failed> {
    let level = PowerLevel::of(spec.level).ok_or_else(|| {
        let hint = "1 parks nothing, 3 parks where it clearly pays, 5 whatever saves anything";
        bad(format!("level {} is not 1 to 5", spec.level), hint)
    })?;
    if spec.reserve > MAX_RESERVE {
        return Err(bad(format!("reserve must be at most {MAX_RESERVE}"), EXPLAINED));
    }
    if spec.survive_failures > MAX_FAILURES {
        return Err(bad(format!("survive_failures must be at most {MAX_FAILURES}"), EXPLAINED));
    }
    if spec.schedule.len() > MAX_WINDOWS {
        return Err(bad(format!("a schedule has at most {MAX_WINDOWS} windows"), EXPLAINED));
    }
    let windows = spec.schedule.iter().map(|text| text.parse());
    let schedule = windows
        .collect::<Result<Vec<_>, drover_planner::power::ScheduleError>>()
        .map_err(|error| bad(error.to_string(), EXPLAINED))?;
    if saving::offset(&spec.time_zone, now).is_none() {
        let hint = "write a name of the time zone database, such as Europe/Berlin or UTC";
        return Err(bad(format!("there is no time zone `{}`", spec.time_zone), hint));
    }
    let mut exclude = BTreeSet::new();
    for name in &spec.exclude_hosts {
        exclude.insert(find_host(tables, name).ok_or_else(|| missing("host", name))?);
    }
    Ok(PowerPolicyRecord {
        policy: PowerPolicy {
            level,
            reserve: spec.reserve as usize,
            survive_failures: spec.survive_failures,
            schedule,
            utc_offset_s: 0,
        },
        zone: spec.time_zone.clone(),
        exclude,
        min_on: span_within("min_on", &spec.min_on, &MINIMUM)?,
        min_off: span_within("min_off", &spec.min_off, &MINIMUM)?,
        suggest: spec.suggest,
        set: now,
    })
}

/// The policy as it is shown.
pub(super) fn shown(tables: &Tables, record: &PowerPolicyRecord) -> v1::PowerPolicy {
    let policy = &record.policy;
    v1::PowerPolicy {
        spec: v1::SetPower {
            level: policy.level.number(),
            reserve: u32::try_from(policy.reserve).unwrap_or(u32::MAX),
            survive_failures: policy.survive_failures,
            schedule: policy.schedule.iter().map(ToString::to_string).collect(),
            time_zone: record.zone.clone(),
            exclude_hosts: record.exclude.iter().map(|id| tables.host_name(*id)).collect(),
            min_on: exact_duration(record.min_on),
            min_off: exact_duration(record.min_off),
            suggest: record.suggest,
        },
        parameters: saving::parameters(policy.level),
        set: rfc3339(record.set),
    }
}
