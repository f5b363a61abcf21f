//! Forecasts, and the history of a guest's moves.

use drover_api::v1;

use crate::output::{ago, bytes, fields, or_dash, table};

/// What a move is expected to take, in two lines.
pub(crate) fn forecast(forecast: &v1::Forecast) -> String {
    let range = |range: &v1::ForecastRange| {
        format!("{} ({} to {})", span(range.expected_ms), span(range.low_ms), span(range.high_ms))
    };
    format!(
        "{}, pause {}, {} in {} pass(es), learned from {} move(s)\n{}",
        range(&forecast.total),
        range(&forecast.downtime),
        bytes(forecast.bytes),
        forecast.rounds,
        forecast.learned_from,
        forecast.reason,
    )
}

pub(crate) fn forecast_error(error: &v1::ForecastError) -> String {
    format!(
        "time {:.0} %, pause {}",
        error.total_percent,
        or_dash(error.downtime_percent, |percent| format!("{percent:.0} %"))
    )
}

pub(crate) fn history(moves: &[v1::PastMove]) -> String {
    let rows = moves
        .iter()
        .map(|past| {
            let of = past.outcome.as_ref();
            vec![
                ago(&past.at),
                format!("{} → {}", past.from, past.to),
                past.mode.clone(),
                past.state.clone(),
                span(past.duration_ms),
                or_dash(of.and_then(|of| of.downtime_ms), span),
                or_dash(of.and_then(|of| of.transferred_bytes), bytes),
                or_dash(of.and_then(|of| of.iterations), |count| count.to_string()),
                or_dash(past.forecast_error.as_ref(), forecast_error),
                past.cause.clone(),
            ]
        })
        .collect();
    let columns = [
        "WHEN",
        "MOVE",
        "MODE",
        "STATE",
        "TOOK",
        "PAUSE",
        "SENT",
        "PASSES",
        "FORECAST OFF BY",
        "CAUSE",
    ];
    table(&columns, rows)
}

pub(crate) fn policy(policy: &v1::GuestPolicy) -> String {
    let switch = |on: Option<bool>| match on {
        Some(true) => "on".to_owned(),
        Some(false) => "off".to_owned(),
        None => "as each request says".to_owned(),
    };
    let pause = match policy.max_downtime_is_limit {
        true => span(policy.max_downtime_ms),
        false => format!("{} unless a request names another", span(policy.max_downtime_ms)),
    };
    fields(&[
        ("guest", policy.guest.clone()),
        ("longest pause", pause),
        ("auto-converge", switch(policy.auto_converge)),
        ("post-copy", switch(policy.post_copy)),
        ("priority", policy.priority.to_string()),
        ("probe", switch(Some(policy.probe))),
    ])
}

fn span(ms: u64) -> String {
    match ms {
        0..=9_999 => format!("{ms} ms"),
        _ => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}
