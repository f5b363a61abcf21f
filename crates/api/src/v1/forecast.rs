//! Forecasts of moves, and the history of a guest's moves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Outcome, Time};

/// What a live move is expected to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// From start to end; of one that does not converge, until that is clear.
    pub total: ForecastRange,
    /// The pause of the guest.
    pub downtime: ForecastRange,
    /// Passes over the memory.
    pub rounds: u32,
    /// Bytes sent.
    pub bytes: u64,
    /// `converges`, `only-with-downtime` or `never`.
    pub verdict: String,
    /// The shortest pause that would end it, milliseconds, where the guest allows less.
    pub needed_downtime_ms: Option<u64>,
    /// What it was made of, and what would help.
    pub reason: String,
    /// Past moves of the guest that it was corrected by.
    pub learned_from: u32,
}

/// A time with what it may be instead, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForecastRange {
    /// If all goes well.
    pub low_ms: u64,
    /// Most likely.
    pub expected_ms: u64,
    /// If it goes badly.
    pub high_ms: u64,
}

/// How far a forecast was off, percent of what it took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastError {
    /// Of the whole time.
    pub total_percent: f64,
    /// Of the pause, where it was measured.
    pub downtime_percent: Option<f64>,
}

/// What the source did to bring a transfer to its end, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Note {
    /// When.
    pub at: Time,
    /// What, in a sentence.
    pub text: String,
}

/// One move of a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PastMove {
    /// The operation.
    pub operation: String,
    /// When it was created.
    pub at: Time,
    /// Host name.
    pub from: String,
    /// Host name.
    pub to: String,
    /// `live`, `cold` or `rescue`.
    pub mode: String,
    /// `rule NAME`, `policy NAME` or `request of NAME`.
    pub cause: String,
    /// The state that it is in.
    pub state: String,
    /// From its creation to its last change, milliseconds.
    pub duration_ms: u64,
    /// What was measured.
    pub outcome: Option<Outcome>,
    /// How far the forecast was off.
    pub forecast_error: Option<ForecastError>,
    /// Why it failed.
    pub failure: Option<String>,
}
