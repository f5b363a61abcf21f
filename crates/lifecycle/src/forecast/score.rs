//! How well forecasts were, and what the next one learns from it.

use drover_model::MigrationOutcome;
use serde::{Deserialize, Serialize};

use super::{Forecast, real};

/// A forecast and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Past {
    /// Expected over all, milliseconds.
    pub expected_total_ms: u64,
    /// Expected pause, milliseconds.
    pub expected_downtime_ms: u64,
    /// What it took.
    pub total_ms: u64,
    /// The pause, where it was measured.
    pub downtime_ms: Option<u64>,
}

/// How far a forecast was off, as a part of what it took: 0.25 is a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Of the whole time.
    pub total: f64,
    /// Of the pause, where it was measured.
    pub downtime: Option<f64>,
}

/// By what forecasts of one guest are multiplied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    pub(super) total: f64,
    pub(super) downtime: f64,
    /// Past moves that it was learned from.
    pub moves: u32,
}

/// Weight of the newest move: guests change, and a single move may have been unlucky.
const NEWEST: f64 = 0.5;
/// A forecast is corrected by no more than this: what is further off has another cause.
const MOST: f64 = 4.0;
/// A pause or a time is not judged finer than this, milliseconds: libvirt polls no faster.
const GRAIN_MS: u64 = 50;

impl Score {
    /// Of a forecast, once it is known what the migration took.
    pub fn of(forecast: &Forecast, outcome: &MigrationOutcome) -> Self {
        let downtime = outcome.downtime_ms.map(|took| error(forecast.downtime_ms.expected, took));
        Self { total: error(forecast.total_ms.expected, outcome.total_ms), downtime }
    }
}

fn error(expected: u64, took: u64) -> f64 {
    real(expected.abs_diff(took)) / real(took.max(GRAIN_MS))
}

impl Correction {
    /// Nothing was learned yet.
    pub const NONE: Self = Self { total: 1.0, downtime: 1.0, moves: 0 };

    /// From past moves of the same guest, the oldest first. Their forecasts were corrected
    /// already: each says by how much more the next one is to be.
    pub fn learn(past: &[Past]) -> Self {
        let mut learned = Self::NONE;
        for one in past {
            let total = ratio(one.total_ms, one.expected_total_ms);
            learned.total = step(learned.total, total);
            if let Some(downtime_ms) = one.downtime_ms {
                let downtime = ratio(downtime_ms, one.expected_downtime_ms);
                learned.downtime = step(learned.downtime, downtime);
            }
            learned.moves += 1;
        }
        learned
    }

    /// How unsure something is that is known to within `factor` at first.
    pub(super) fn narrowed(self, factor: f64) -> f64 {
        factor.powf(1.0 / f64::from(1 + self.moves).sqrt())
    }
}

fn ratio(took: u64, expected: u64) -> f64 {
    real(took.max(GRAIN_MS)) / real(expected.max(GRAIN_MS))
}

/// In logarithms: twice as long and half as long are equally far off.
fn step(before: f64, ratio: f64) -> f64 {
    (before * ratio.powf(NEWEST)).clamp(1.0 / MOST, MOST)
}

/// The median of what is known; none of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some((sorted[middle - 1] + upper) / 2.0) }
}
