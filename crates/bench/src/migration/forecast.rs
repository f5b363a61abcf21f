//! How good the forecasts were.

use super::drover::Move;
use crate::row::{quantile, single};

/// Rows: the median of how far the forecasts of these moves were off.
pub(super) fn score(moves: &[Move]) {
    let totals: Vec<f64> =
        moves.iter().filter_map(|of| of.off).map(|(total, _)| total.abs()).collect();
    let pauses: Vec<f64> = moves.iter().filter_map(|of| of.off?.1).map(f64::abs).collect();
    let note = |scored: &[f64]| {
        format!(
            "{} of {} moves had one; p90 {:.0}",
            scored.len(),
            moves.len(),
            quantile(scored, 0.9)
        )
    };
    single("forecast off by, whole time, median", quantile(&totals, 0.5), "%", &note(&totals));
    single("forecast off by, pause, median", quantile(&pauses, 0.5), "%", &note(&pauses));
}
