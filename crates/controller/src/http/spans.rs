//! Spans of time as requests write them. Every field that takes one is read here.

use std::ops::RangeInclusive;
use std::time::Duration;

use drover_model::{exact_duration, parse_duration};

use super::reply::{Failed, bad};

const WRITTEN: &str = "write for example 30s, 5m or 1h30m";

/// A span without limits of its own; `what` is the field's name.
pub(super) fn span(what: &str, text: &str) -> Result<Duration, Failed> {
    parse_duration(text)
        .map_err(|error| bad(format!("the {what} `{text}` is unreadable: {error}"), WRITTEN))
}

/// A span within its limits.
pub(super) fn span_within(
    what: &str,
    text: &str,
    allowed: &RangeInclusive<Duration>,
) -> Result<Duration, Failed> {
    let span = span(what, text)?;
    if allowed.contains(&span) {
        return Ok(span);
    }
    let (least, most) = (exact_duration(*allowed.start()), exact_duration(*allowed.end()));
    Err(bad(format!("the {what} must be {least} to {most}"), WRITTEN))
}
