//! One client through many moves of its guest in a row.

use std::time::Duration;

use drover_lab::Gap;

use super::bed::Bed;
use super::took::unix_ms;
use crate::row::{quantile, single};

const GUEST: &str = "vm1";
/// The client sends a line this often.
const LOOK: Duration = Duration::from_millis(20);
/// Gaps shorter than this are not told: three lines.
const UNTOLD_MS: f64 = 60.0;
/// The client looks so long before the first move, and after the last.
const AROUND: Duration = Duration::from_secs(2);

/// Rows: the longest silence of each of so many moves, and what was lost in all of them.
pub(super) fn measure(bed: &Bed, moves: usize) -> anyhow::Result<()> {
    let probe = bed.lab.probe_every(GUEST, None, LOOK)?;
    std::thread::sleep(AROUND);
    let mut spans = Vec::new();
    let mut failed = 0;
    let begun = unix_ms();
    for number in 1..=moves {
        let (from, to) = bed.way(GUEST)?;
        bed.settled(GUEST, &from)?;
        let asked = unix_ms();
        if let Err(error) = bed.json(&["guest", "migrate", GUEST, "--to", &to]) {
            failed += 1;
            eprintln!("move {number} of {moves}: {error:#}");
        }
        spans.push((asked, unix_ms()));
    }
    let minutes = (unix_ms() - begun) / 60_000.0;
    std::thread::sleep(AROUND);
    let report = probe.finish()?;
    let told = !report.tcp_gaps.is_empty() || report.tcp_longest_gap_ms <= UNTOLD_MS;
    anyhow::ensure!(told, "the probe told no gaps: drover-lab is older than this program");
    let gaps: Vec<f64> = spans.iter().map(|&span| longest(&report.tcp_gaps, span)).collect();
    let note =
        format!("one TCP connection through {moves} moves in {minutes:.1} min; a line every 20 ms");
    single("longest gap of a move, p50", quantile(&gaps, 0.5), "ms", &note);
    single("longest gap of a move, p99", quantile(&gaps, 0.99), "ms", "");
    let all = "the longest of all, with those between the moves";
    single("longest gap", report.tcp_longest_gap_ms, "ms", all);
    let error = report.tcp_error.as_deref().unwrap_or("the connection held");
    let order = if report.tcp_in_order { "all in order" } else { "OUT OF ORDER" };
    let note = format!("of {}; {order}; {error}", report.tcp_sent);
    #[expect(clippy::cast_precision_loss, reason = "a number of lines")]
    single("lines lost", (report.tcp_sent - report.tcp_echoed) as f64, "", &note);
    single("moves that failed", f64::from(failed), "", &format!("of {moves}"));
    Ok(())
}

/// The longest gap that ended within a span of Unix milliseconds.
fn longest(gaps: &[Gap], (begun, ended): (f64, f64)) -> f64 {
    let within = |gap: &&Gap| (begun..=ended).contains(&(gap.ended * 1000.0));
    gaps.iter().filter(within).map(|gap| gap.ms).fold(UNTOLD_MS, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_has_the_longest_gap_that_ended_in_it() {
        let gaps = [(1.0, 300.0), (2.1, 80.0), (2.2, 120.0), (4.0, 900.0)];
        let gaps = gaps.map(|(ended, ms)| Gap { ended, ms });
        assert!((longest(&gaps, (2000.0, 3000.0)) - 120.0).abs() < 1e-9);
        assert!((longest(&gaps, (5000.0, 6000.0)) - UNTOLD_MS).abs() < 1e-9);
    }
}
