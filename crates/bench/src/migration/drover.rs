//! Drover's side of the comparison.

use anyhow::Context as _;
use serde_json::Value;

use super::bed::Bed;
use super::took::{Took, unix_ms, watched};

/// A move by Drover, and what its operation tells of it.
pub(super) struct Move {
    pub(super) took: Took,
    /// The network's silence as the target measured it, milliseconds.
    pub(super) blackout: Option<f64>,
    /// From the proof that the source's copy is gone to the target running, milliseconds.
    pub(super) handover: Option<f64>,
    /// Each state but the last with its length, milliseconds; the first is `request`: until
    /// the operation was there.
    pub(super) stages: Vec<(String, f64)>,
    /// How far the forecast was off, percent: the whole time, the pause.
    pub(super) off: Option<(f64, Option<f64>)>,
}

impl Move {
    /// From the operation's beginning to the guest running on the target, milliseconds.
    pub(super) fn after_admission(&self) -> f64 {
        let request = self.stages.first().map_or(0.0, |(_, ms)| *ms);
        self.took.wall - request
    }
}

/// Moves a guest to the other host.
pub(super) fn migrate(bed: &Bed, guest: &str, options: &[&str]) -> anyhow::Result<Move> {
    let (_, to) = bed.way(guest)?;
    let words = [&["guest", "migrate", guest, "--to", &to][..], options].concat();
    let (seen, (asked, operation)) = watched(&bed.lab, guest, || {
        let asked = unix_ms();
        Ok((asked, bed.json(&words)?))
    })?;
    bed.settled(guest, &to)?;
    // The command line waits for the blackout after the end, and polls: droverd's own times
    // have neither.
    let steps = steps(&operation)?;
    let (_, ended) = steps.last().context("an operation without states")?;
    let outcome = &operation["outcome"];
    let downtime = outcome["downtime_ms"].as_f64().unwrap_or(f64::NAN);
    let error = &operation["forecast_error"];
    Ok(Move {
        took: Took { wall: ended - asked, downtime, seen },
        blackout: outcome["blackout_ms"].as_f64(),
        handover: outcome["handover_ms"].as_f64(),
        stages: stages(asked, &steps),
        off: error["total_percent"].as_f64().map(|off| (off, error["downtime_percent"].as_f64())),
    })
}

/// The states that an operation went through and when each began, Unix milliseconds.
pub(super) fn steps(operation: &Value) -> anyhow::Result<Vec<(String, f64)>> {
    let timeline = operation["timeline"].as_array().context("no timeline")?;
    let step = |step: &Value| {
        let at: jiff::Timestamp = step["at"].as_str().context("a step without a time")?.parse()?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970: 41 bits")]
        let ms = at.as_millisecond() as f64;
        Ok((step["state"].as_str().unwrap_or_default().to_owned(), ms))
    };
    timeline.iter().map(step).collect()
}

fn stages(asked: f64, steps: &[(String, f64)]) -> Vec<(String, f64)> {
    let first = steps.first().map(|(_, at)| ("request".to_owned(), at - asked));
    let between = steps.windows(2).map(|pair| (pair[0].0.clone(), pair[1].1 - pair[0].1));
    first.into_iter().chain(between).collect()
}
