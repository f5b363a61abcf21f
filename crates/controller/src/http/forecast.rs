//! What a move is expected to take: measured, put together and shown.

use drover_agent_api::v1::MeasureDirtying;
use drover_api::v1;
use drover_lifecycle::MigrationState;
use drover_lifecycle::convergence::Limits;
use drover_lifecycle::forecast::{
    Correction, Forecast, Otherwise, Past, Prospect, Range, Score, Verdict,
};
use drover_model::{
    Bytes, DirtyWindow, GuestId, HostId, Metric, MigrationMode, MigrationSettings, PostCopy,
};
use drover_ports::Entity;

use super::Api;
use super::show::fresh;
use crate::live::{Answer, Question};
use crate::records::{OperationRecord, Tables};

/// Windows over which dirtying is measured where somebody waits for the forecast, seconds: two
/// tell rate and working set.
pub(super) const DRY_RUN_WINDOWS: &[u32] = &[1, 3];
/// And where somebody waits for the move.
pub(super) const MOVE_WINDOWS: &[u32] = &[1];
/// Past moves of a guest that its forecasts are corrected by, and of a pair of hosts that its
/// link is known by: the newest.
const PAST_MOVES: usize = 20;
/// Set-up and completion of a move, milliseconds, in which nothing is sent.
const AROUND_MS: u64 = 350;

/// A forecast of a live move; none of another, which sends no memory.
pub(super) async fn foretell(
    api: &Api,
    guest: GuestId,
    to: HostId,
    settings: &MigrationSettings,
    windows: &[u32],
) -> Option<Forecast> {
    if settings.mode != MigrationMode::Live {
        return None;
    }
    let from = api.records.read().guests.get(guest)?.guest.host;
    let dirtied = measure(api, guest, from, windows).await;
    let used = fresh(api, Entity::Guest(guest))
        .and_then(|latest| latest.values.get(&Metric::GuestResident).copied())
        .map(|resident| Bytes(super::show::bytes(resident)));
    let tables = api.records.read();
    let memory = tables.guests.get(guest)?.guest.current_memory.bytes();
    let limits = Limits::of(settings);
    let prospect = Prospect {
        memory,
        used,
        dirtied,
        disks: Bytes(0),
        link: link(&tables, from, to),
        cap: settings.max_bandwidth_mib_s.map(|cap| cap << 20),
        tls: settings.tls.unwrap_or(false),
        streams: settings.parallel.unwrap_or(1),
        first_downtime_ms: limits.first_downtime_ms,
        max_downtime_ms: limits.max_downtime_ms,
        otherwise: otherwise(settings),
    };
    Some(prospect.forecast(&Correction::learn(&past(&tables, guest))))
}

/// Nothing where the agent cannot tell: then the forecast says so.
async fn measure(api: &Api, guest: GuestId, from: HostId, windows: &[u32]) -> Vec<DirtyWindow> {
    let ask = MeasureDirtying { guest_id: guest.to_string(), seconds: windows.to_vec() };
    match api.live.ask(from, Question::MeasureDirtying(ask)).await {
        Ok(Answer::DirtiedJson(json)) => serde_json::from_slice(&json).unwrap_or_default(),
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::warn!(%guest, %error, "the dirty rate could not be measured");
            Vec::new()
        }
    }
}

const fn otherwise(settings: &MigrationSettings) -> Otherwise {
    if !matches!(settings.post_copy, PostCopy::Never) {
        Otherwise::PostCopy
    } else if settings.quickly_finish {
        Otherwise::ForceFinish
    } else if settings.auto_converge {
        Otherwise::Throttle
    } else {
        Otherwise::Nothing
    }
}

/// What past moves between two hosts carried, bytes a second: the best of the newest, since
/// a small guest does not fill a link. Moves in either direction and without a cap count.
fn link(tables: &Tables, from: HostId, to: HostId) -> Option<u64> {
    let between = |record: &&OperationRecord| {
        let (a, b) = (record.migration.from, record.migration.to);
        (a, b) == (from, to) || (a, b) == (to, from)
    };
    let uncapped =
        |record: &&OperationRecord| record.migration.settings.max_bandwidth_mib_s.is_none();
    let carried = |record: &OperationRecord| {
        let outcome = record.migration.outcome?;
        let ms = outcome.total_ms.saturating_sub(AROUND_MS).max(1);
        outcome.transferred.map(|sent| sent.0.saturating_mul(1000) / ms)
    };
    let newest = tables.operations.iter().rev().filter(between).filter(uncapped);
    newest.filter_map(carried).take(PAST_MOVES).max()
}

fn past(tables: &Tables, guest: GuestId) -> Vec<Past> {
    let mut newest: Vec<Past> = tables
        .operations
        .iter()
        .rev()
        .filter(|record| record.migration.guest == guest)
        .filter_map(|record| {
            let (forecast, outcome) = (record.forecast.as_ref()?, record.migration.outcome?);
            Some(Past {
                expected_total_ms: forecast.total_ms.expected,
                expected_downtime_ms: forecast.downtime_ms.expected,
                total_ms: outcome.total_ms,
                downtime_ms: outcome.downtime_ms,
            })
        })
        .take(PAST_MOVES)
        .collect();
    newest.reverse();
    newest
}

/// A forecast as users see it.
pub(super) fn shown(forecast: &Forecast) -> v1::Forecast {
    let range = |range: Range| v1::ForecastRange {
        low_ms: range.low,
        expected_ms: range.expected,
        high_ms: range.high,
    };
    let (verdict, needed_downtime_ms) = match forecast.verdict {
        Verdict::Converges => ("converges", None),
        Verdict::OnlyWithDowntime { needed_ms } => ("only-with-downtime", Some(needed_ms)),
        Verdict::Never => ("never", None),
    };
    v1::Forecast {
        total: range(forecast.total_ms),
        downtime: range(forecast.downtime_ms),
        rounds: forecast.rounds,
        bytes: forecast.bytes.0,
        verdict: verdict.to_owned(),
        needed_downtime_ms,
        reason: forecast.reason.clone(),
        learned_from: forecast.learned_from,
    }
}

/// How far the forecast of an operation was off, once it is completed.
pub(super) fn score(record: &OperationRecord) -> Option<v1::ForecastError> {
    let forecast = record.forecast.as_ref()?;
    let MigrationState::Completed { outcome: Some(outcome) } = &record.migration.state else {
        return None;
    };
    let score = Score::of(forecast, outcome);
    let percent = |part: f64| part * 100.0;
    Some(v1::ForecastError {
        total_percent: percent(score.total),
        downtime_percent: score.downtime.map(percent),
    })
}
