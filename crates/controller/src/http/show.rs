//! Records as users see them: names instead of ids, RFC 3339 instead of milliseconds.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use drover_api::v1;
use drover_lifecycle::MigrationState;
use drover_lifecycle::queue::Place;
use drover_model::{GuestId, HostId, MigrationProgress, OperationId, Timestamp};
use drover_planner::PlannedMove;
use drover_ports::Entity;

use super::Api;
use crate::continuity::is_probed;
use crate::engine::handover_ms;
use crate::live::{Latest, Live};
use crate::moment::rfc3339;
use crate::queue::{places, why};
use crate::records::{OperationRecord, PlanRecord, Tables};

/// The host with this name or id.
pub(super) fn find_host(tables: &Tables, text: &str) -> Option<HostId> {
    let by_id = HostId::from_str(text).ok().filter(|id| tables.hosts.get(*id).is_some());
    by_id.or_else(|| tables.hosts.iter().find(|r| r.host.name == text).map(|r| r.host.id))
}

/// The guest with this name or id.
pub(super) fn find_guest(tables: &Tables, text: &str) -> Option<GuestId> {
    let by_id = GuestId::from_str(text)
        .ok()
        .filter(|id| tables.guests.get(*id).is_some_and(|record| !record.absent));
    by_id.or_else(|| {
        tables
            .guests
            .iter()
            .find(|record| !record.absent && record.guest.name == text)
            .map(|record| record.guest.id)
    })
}

/// The newest sample, unless it is so old that it tells nothing of now.
pub(super) fn fresh(api: &Api, entity: Entity) -> Option<Latest> {
    let now = api.clock.now();
    api.live.latest(entity).filter(|latest| now.since(latest.at) <= api.sample_interval * STALE)
}

/// So many intervals old, a sample tells nothing of now.
const STALE: u32 = 4;

/// All newest values by metric name.
pub(super) fn by_name(latest: Option<Latest>) -> BTreeMap<String, f64> {
    latest.map_or_else(BTreeMap::new, |latest| {
        latest.values.into_iter().map(|(metric, value)| (metric.to_string(), value)).collect()
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes are measured as whole, non-negative numbers"
)]
pub(super) fn bytes(value: f64) -> u64 {
    value.max(0.0) as u64
}

/// An operation as users see it.
pub fn operation_view(tables: &Tables, live: &Live, id: OperationId) -> Option<v1::Operation> {
    tables.operations.get(id).map(|record| operation(tables, live, record, &places(tables)))
}

pub(super) fn operation(
    tables: &Tables,
    live: &Live,
    record: &OperationRecord,
    queue: &[Place],
) -> v1::Operation {
    let migration = &record.migration;
    let (outcome, failure) = match &migration.state {
        MigrationState::Completed { outcome } => (
            outcome.map(|outcome| v1::Outcome {
                total_ms: outcome.total_ms,
                downtime_ms: outcome.downtime_ms,
                transferred_bytes: outcome.transferred.map(|sent| sent.0),
                iterations: outcome.iterations,
                handover_ms: handover_ms(record),
                blackout_ms: outcome.blackout_ms,
            }),
            None,
        ),
        MigrationState::Failed { cause, guest_lost: true } => {
            (None, Some(format!("{}; the guest runs nowhere: start it by hand", cause.message)))
        }
        MigrationState::Failed { cause, .. }
        | MigrationState::CleaningUp { cause }
        | MigrationState::PostCopy { trouble: Some(cause) }
        | MigrationState::Returning { cause } => (None, Some(cause.message.clone())),
        _ => (None, None),
    };
    v1::Operation {
        id: migration.operation.to_string(),
        kind: "migrate".to_owned(),
        mode: migration.settings.mode.as_str().to_owned(),
        encrypted: migration.settings.tls,
        max_downtime_ms: migration.settings.max_downtime_ms,
        max_bandwidth_mib_s: migration.settings.max_bandwidth_mib_s,
        options: migration.settings.options(),
        guest: tables.guest_name(migration.guest),
        from: tables.host_name(migration.from),
        to: tables.host_name(migration.to),
        state: migration.state.as_str().to_owned(),
        finished: migration.state.is_finished(),
        cause: record.cause.to_string(),
        plan: Some(record.plan.to_string()),
        created: rfc3339(record.created),
        changed: rfc3339(record.changed()),
        progress: live.progress(migration.operation).map(|p| progress(&p)),
        probed: is_probed(tables, migration),
        outcome,
        failure,
        timeline: record
            .timeline
            .iter()
            .map(|(state, at)| v1::Step { state: state.clone(), at: rfc3339(*at) })
            .collect(),
        notes: record
            .notes
            .iter()
            .map(|(at, text)| v1::Note { at: rfc3339(*at), text: text.clone() })
            .collect(),
        forecast: record.forecast.as_ref().map(super::forecast::shown),
        forecast_error: super::forecast::score(record),
        unclean_hosts: migration.unclean().map(|host| tables.host_name(host)).collect(),
        queue: place(tables, live, record, queue),
    }
}

/// Where an operation is in the queue; none when it is not in it.
fn place(
    tables: &Tables,
    live: &Live,
    record: &OperationRecord,
    queue: &[Place],
) -> Option<v1::QueuePlace> {
    let of = |place: &Place| place.waiting.operation == record.migration.operation;
    let index = queue.iter().position(of)?;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(v1::QueuePlace {
        position: count(index + 1),
        of: count(queue.len()),
        class: queue[index].waiting.urgency.to_string(),
        waits_for: why(tables, live, &queue[index]),
    })
}

fn progress(progress: &MigrationProgress) -> v1::Progress {
    v1::Progress {
        percent: progress.percent(),
        processed_bytes: progress.processed.0,
        remaining_bytes: progress.remaining.0,
        total_bytes: progress.total.0,
        dirty_bytes_per_second: progress.dirty_rate.0,
        throughput_bytes_per_second: progress.throughput.0,
        iteration: progress.iteration,
        elapsed_ms: progress.elapsed_ms,
    }
}

/// A plan as users see it.
pub(super) fn plan(tables: &Tables, record: &PlanRecord) -> v1::Plan {
    let mut operations = record.operations.iter();
    let planned = |step: &PlannedMove, operation: Option<String>| v1::PlannedMove {
        guest: tables.guest_name(step.step.guest),
        from: tables.host_name(step.step.from),
        to: tables.host_name(step.step.to),
        memory_mib: step.bytes >> 20,
        why_guest: step.why_guest.clone(),
        why_host: step.why_host.clone(),
        expected: v1::ExpectedValues {
            metric: step.metric.to_string(),
            from_before: step.from.0,
            from_after: step.from.1,
            to_before: step.to.0,
            to_after: step.to.1,
        },
        operation,
        gain: step.gain,
        seconds: step.seconds,
    };
    let batches = record
        .plan
        .batches
        .iter()
        .map(|batch| {
            batch
                .iter()
                .map(|step| planned(step, operations.next().map(ToString::to_string)))
                .collect()
        })
        .collect();
    let state = if record.plan.is_empty() { "nothing-to-do" } else { record.state.as_str() };
    v1::Plan {
        id: record.id.to_string(),
        at: rfc3339(record.at),
        cause: record.cause.to_string(),
        state: state.to_owned(),
        batches,
        report: report(tables, record),
    }
}

fn report(tables: &Tables, record: &PlanRecord) -> v1::PlanReport {
    let of = &record.report;
    v1::PlanReport {
        summary: record.report.summary.clone(),
        hosts: record
            .report
            .hosts
            .iter()
            .map(|outlook| v1::HostOutlook {
                host: tables.host_name(outlook.host),
                before: outlook.before,
                after: outlook.after,
                relieved: outlook.unrelieved.is_none(),
                reason: outlook.unrelieved.clone(),
                estimate: outlook.estimate,
            })
            .collect(),
        refused: record
            .report
            .refused
            .iter()
            .map(|refused| v1::RefusedMove {
                guest: tables.guest_name(refused.guest),
                host: refused.host.map(|host| tables.host_name(host)),
                constraint: refused.constraint.to_string(),
                reason: refused.reason.clone(),
            })
            .collect(),
        unknown: record
            .report
            .unknown
            .iter()
            .map(|(host, reason)| format!("{}: {reason}", tables.host_name(*host)))
            .collect(),
        score: of.score.map(|score| v1::Score { before: score.before, after: score.after }),
        front: of
            .front
            .iter()
            .map(|p| v1::FrontPoint { moves: p.moves, score: p.score, bytes: p.bytes })
            .collect(),
        unplaced: of.unplaced.iter().map(|guest| tables.guest_name(*guest)).collect(),
        broken_before: of.broken.0.clone(),
        broken_after: of.broken.1.clone(),
    }
}

/// Seconds since a moment.
pub(super) fn age(now: Timestamp, at: Timestamp) -> f64 {
    now.since(at).as_secs_f64()
}

pub(super) async fn version() -> Json<v1::Version> {
    Json(v1::Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: vec!["v1".to_owned()] })
}

pub(super) async fn openapi() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, drover_api::openapi::document().to_string()).into_response()
}
