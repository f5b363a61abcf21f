//! What a move is expected to take, shown.

use drover_api::v1;
use drover_lifecycle::MigrationState;
use drover_lifecycle::forecast::{Forecast, Range, Score, Verdict};

use crate::records::OperationRecord;

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
