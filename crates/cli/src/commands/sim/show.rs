//! Runs side by side, as text.

use drover_sim::{Figures, MoveReport, RunReport};

use crate::output::{or_dash, table};

/// Moves that the narrow table shows; `-o wide`, `-o json` and the page have all.
const SHOWN: usize = 20;

/// A figure's name, and how it is shown.
type Row = (&'static str, fn(&Figures) -> String);

const ROWS: &[Row] = &[
    ("moves", |f| f.moves.to_string()),
    ("failed moves", |f| f.failed_moves.to_string()),
    ("memory sent", |f| format!("{:.1} GiB", f.sent_gib)),
    ("overload", |f| format!("{:.1} host-min", f.overload_host_minutes)),
    ("longest overload", |f| {
        let host = f.longest_overload_host.as_deref();
        let on = host.map_or_else(String::new, |host| format!(" on {host}"));
        format!("{:.1} min{on}", f.longest_overload_minutes)
    }),
    ("guests short of CPU", |f| format!("{:.1} guest-min", f.short_guest_minutes)),
    ("unserved", |f| format!("{:.1} core-min", f.unserved_core_minutes)),
    ("lost to moves", |f| format!("{:.2} core-min", f.lost_to_moves_core_minutes)),
    ("guests down", |f| format!("{:.1} guest-min", f.down_guest_minutes)),
    ("energy", |f| format!("{:.3} kWh", f.energy_kwh)),
    ("firings", |f| f.firings.to_string()),
    ("turns without a move", |f| f.turns_without_a_move.to_string()),
];

pub(super) fn runs(runs: &[(&str, &RunReport)], assumptions: &[String], wide: bool) -> String {
    let Some((_, first)) = runs.first() else { return String::new() };
    let mut text = format!(
        "{} hosts, {} guests, {}, a sample every {} s, seed {}\n",
        first.hosts,
        first.guests,
        span(first.duration_s),
        first.interval_s,
        first.seed,
    );
    if !first.judged_by.is_empty() {
        text.push_str(&format!("overload is {}\n", first.judged_by.join(", or ")));
    }
    let header: Vec<String> = std::iter::once(String::new())
        .chain(runs.iter().map(|(name, _)| name.to_uppercase()))
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    // Without a rule nothing says what an overload is.
    let told = |row: &&Row| !(first.judged_by.is_empty() && row.0.contains("overload"));
    let rows = ROWS
        .iter()
        .filter(told)
        .map(|(name, show)| {
            let values = runs.iter().map(|(_, run)| show(&run.figures));
            std::iter::once((*name).to_owned()).chain(values).collect()
        })
        .collect();
    text.push_str(&format!("\n{}\n", table(&header, rows)));
    if let Some((name, run)) = runs.last().filter(|(_, run)| !run.moves.is_empty()) {
        text.push_str(&format!("\nmoves: {name}\n{}\n", moves(&run.moves, wide)));
        let more = run.moves.len().saturating_sub(SHOWN);
        if more > 0 && !wide {
            text.push_str(&format!("and {more} more; -o wide shows them\n"));
        }
    }
    for (name, run) in runs {
        for violation in &run.violations {
            text.push_str(&format!("\nA CHECK FAILED ({name}): {violation}\n"));
        }
    }
    text.push_str("\nthis takes for granted\n");
    for line in assumptions {
        text.push_str(&format!("  - {line}\n"));
    }
    text
}

fn moves(moves: &[MoveReport], wide: bool) -> String {
    let mut header =
        vec!["AT", "GUEST", "FROM", "TO", "TOOK", "STATE", "TARGET EXPECTED", "MEASURED"];
    if wide {
        header.extend(["SENT", "CAUSE", "WHY"]);
    }
    let rows = moves.iter().take(if wide { usize::MAX } else { SHOWN }).map(|one| {
        let forecast = one.forecast.as_ref();
        let value = |value: f64, metric: &str| crate::output::metric(metric, value);
        let mut row = vec![
            span(one.began_s),
            one.guest.clone(),
            one.from.clone(),
            one.to.clone(),
            or_dash(one.ended_s, |ended| format!("{:.1} s", ended - one.began_s)),
            one.failure.clone().unwrap_or_else(|| one.state.clone()),
            or_dash(forecast, |f| value(f.to_expected, &f.metric)),
            or_dash(forecast.and_then(|f| Some((f.to_measured?, &f.metric))), |(v, m)| value(v, m)),
        ];
        if wide {
            row.extend([format!("{:.0} MiB", one.sent_mib), one.cause.clone(), one.why.clone()]);
        }
        row
    });
    table(&header, rows.collect())
}

/// `1d 02:03:04`
fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    let (days, hours) = (whole / 86_400, whole / 3600 % 24);
    let of_day = format!("{hours:02}:{:02}:{:02}", whole / 60 % 60, whole % 60);
    if days > 0 { format!("{days}d {of_day}") } else { of_day }
}
