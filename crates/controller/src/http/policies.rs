//! `/v1/policies`

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{Timestamp, exact_duration};
use drover_planner::Level;
use drover_rules::limits as rule_limits;

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, bad};
use super::spans::span_within;
use crate::churn::moves_of_last_hour;
use crate::events::{Draft, Severity};
use crate::moment::rfc3339;
use crate::records::{BalanceRecord, PolicyName, Tables, Txn};

/// History is kept at full rate for a day; shorter than two samples tells nothing.
const INTERVAL: RangeInclusive<Duration> = rule_limits::MIN_PERIOD..=rule_limits::MAX_PERIOD;
/// A longer hold is a policy that does nothing.
const HOLD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
/// Load is not known further ahead than a week.
const HORIZON: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(7 * 86_400);
const EXPLAINED: &str = "docs/guide/placement.md explains every setting";

pub(super) async fn show(State(api): State<Arc<Api>>) -> Json<v1::Policies> {
    let tables = api.records.read();
    let record = tables.balance.get(PolicyName::Balance);
    let balance = record.map(|record| shown(&tables, record, api.clock.now()));
    let power = tables.power_policy.get(PolicyName::Power);
    let power = power.map(|record| super::power_policy::shown(&tables, record));
    let power_caps = super::power_caps::all(&api, &tables);
    Json(v1::Policies { balance, power_caps, power })
}

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<v1::SetBalance>, JsonRejection>,
) -> Reply<v1::BalancePolicy> {
    let Json(spec) = body?;
    let now = api.clock.now();
    let record = read(&spec, now)?;
    let of = record.clone();
    api.records
        .update(|_| {
            let mut txn = Txn::none();
            txn.replace(of);
            (txn, ())
        })
        .await?;
    let text = format!(
        "{} set the balance policy: level {} every {}",
        caller.name, spec.level, spec.interval
    );
    api.events.record(Draft::new("audit.policy", Severity::Info, text)).await;
    Ok(Json(shown(&api.records.read(), &record, now)))
}

pub(super) async fn unset(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, Failed> {
    api.records
        .update(|tables| {
            let mut txn = Txn::none();
            let there = tables.balance.get(PolicyName::Balance).is_some();
            if there {
                txn.delete_balance();
            }
            (txn, if there { Ok(()) } else { Err(not_set()) })
        })
        .await??;
    let text = format!("{} ended the balance policy", caller.name);
    api.events.record(Draft::new("audit.policy", Severity::Info, text)).await;
    Ok(StatusCode::NO_CONTENT)
}

fn not_set() -> Failed {
    Failed(
        Problem::new(ProblemKind::NotFound, "there is no balance policy")
            .hint("`drover policy set balance --level 3 --interval 5m` makes one"),
    )
}

/// The level that a number names.
pub(super) fn level(number: u8) -> Result<Level, Failed> {
    Level::of(number).ok_or_else(|| {
        bad(format!("level {number} is not 1 to 5"), "1 is conservative, 3 moderate, 5 aggressive")
    })
}

fn read(spec: &v1::SetBalance, now: Timestamp) -> Result<BalanceRecord, Failed> {
    for (what, value, most) in [
        ("max_moves", spec.max_moves, rule_limits::MAX_MOVES),
        ("moves_per_guest_per_hour", spec.moves_per_guest_per_hour, 60),
        ("moves_per_hour", spec.moves_per_hour, 1000),
    ] {
        if !(1..=most).contains(&value) {
            return Err(bad(format!("{what} must be 1 to {most}"), EXPLAINED));
        }
    }
    Ok(BalanceRecord {
        level: level(spec.level)?,
        interval: span_within("interval", &spec.interval, &INTERVAL)?,
        hold: span_within("hold", &spec.hold, &HOLD)?,
        max_moves: spec.max_moves,
        moves_per_guest_per_hour: spec.moves_per_guest_per_hour,
        moves_per_hour: spec.moves_per_hour,
        horizon: span_within("horizon", &spec.horizon, &HORIZON)?,
        set: now,
    })
}

fn shown(tables: &Tables, record: &BalanceRecord, now: Timestamp) -> v1::BalancePolicy {
    let level = Level::ALL.iter().zip(1..).find(|(level, _)| **level == record.level);
    v1::BalancePolicy {
        spec: v1::SetBalance {
            level: level.map_or(0, |(_, number)| number),
            interval: exact_duration(record.interval),
            hold: exact_duration(record.hold),
            max_moves: record.max_moves,
            moves_per_guest_per_hour: record.moves_per_guest_per_hour,
            moves_per_hour: record.moves_per_hour,
            horizon: exact_duration(record.horizon),
        },
        moves_last_hour: u32::try_from(moves_of_last_hour(tables, now)).unwrap_or(u32::MAX),
        set: rfc3339(record.set),
    }
}
