//! Reports as one HTML page: no network, no script, plots drawn in it.

mod escape;
mod plot;

use std::fmt::Write as _;

use crate::report::{ClusterPoint, Figures, RunReport};
use escape::Escaped;
use plot::{Line, Mark, Plot, clock};

/// Most rows of the table of moves, and most marks in a plot.
const MAX_ROWS: usize = 1_000;

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#fff;--grid:#d8dee4;--c0:#8a5a00;--c1:#0b62c4;--level:#c2255c}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--paper:#10151b;--grid:#2d333b;--c0:#e0a93f;--c1:#62a8ff;--level:#ff7aa2}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}p.legend,figcaption,li,.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:left;padding:.25rem .7rem .25rem 0;border-bottom:1px solid var(--grid);vertical-align:top}
.wide{overflow-x:auto}figure{margin:1rem 0}svg{width:100%;height:auto}
.grid{stroke:var(--grid)}.tick{fill:var(--soft);font-size:12px}.level{stroke:var(--level);stroke-dasharray:6 4;stroke-width:1.5}
.line{fill:none;stroke-width:1.6}.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.mark.c0{fill:var(--c0)}.mark.c1{fill:var(--c1)}
.k{display:inline-block;width:1.4em;height:.25em;margin:0 .4em .2em .8em}.k.c0{background:var(--c0)}.k.c1{background:var(--c1)}.k.kl{background:var(--level)}
.bad{color:var(--level);font-weight:600}";

/// A figure's name with its unit, and its value.
type Row = (&'static str, fn(&Figures) -> String);

const ROWS: &[Row] = &[
    ("moves", |f| f.moves.to_string()),
    ("failed moves", |f| f.failed_moves.to_string()),
    ("memory sent, GiB", |f| format!("{:.1}", f.sent_gib)),
    ("overload, host-minutes", |f| format!("{:.1}", f.overload_host_minutes)),
    ("longest overload, minutes", |f| {
        let host = f.longest_overload_host.as_ref().map(|host| format!(" ({host})"));
        format!("{:.1}{}", f.longest_overload_minutes, host.unwrap_or_default())
    }),
    ("guests short of CPU, guest-minutes", |f| format!("{:.1}", f.short_guest_minutes)),
    ("unserved CPU, core-minutes", |f| format!("{:.1}", f.unserved_core_minutes)),
    ("CPU lost to moves, core-minutes", |f| format!("{:.2}", f.lost_to_moves_core_minutes)),
    ("guests down, guest-minutes", |f| format!("{:.1}", f.down_guest_minutes)),
    ("host failures", |f| f.host_failures.to_string()),
    ("energy, kWh", |f| format!("{:.3}", f.energy_kwh)),
    ("firings", |f| f.firings.to_string()),
    ("turns without a move", |f| f.turns_without_a_move.to_string()),
];

/// The page. The first two runs are drawn; `runs` has each with its name.
pub fn page(title: &str, runs: &[(&str, &RunReport)], assumptions: &[String]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        Escaped(title)
    );
    let Some((_, first)) = runs.first() else { return page + "</body></html>\n" };
    let _ = writeln!(
        page,
        "<p>{} hosts, {} guests, {}; a sample every {} s, seed {}. {}</p>",
        first.hosts,
        first.guests,
        clock(first.duration_s),
        first.interval_s,
        first.seed,
        match first.judged_by.as_slice() {
            [] => "No rule says what an overload is.".to_owned(),
            judges => format!("Overload is {}.", Escaped(&judges.join(", or "))),
        }
    );
    page.push_str(&figures(runs));
    for plot in plots(runs) {
        page.push_str(&plot.svg());
    }
    for (name, run) in runs {
        page.push_str(&moves(name, run));
    }
    page.push_str("<h2>What this takes for granted</h2>\n<ul>\n");
    for line in assumptions {
        let _ = writeln!(page, "<li>{}</li>", Escaped(line));
    }
    page + "</ul>\n</body></html>\n"
}

fn figures(runs: &[(&str, &RunReport)]) -> String {
    let mut text = String::from("<div class=\"wide\"><table>\n<tr><th></th>");
    for (name, _) in runs {
        let _ = write!(text, "<th>{}</th>", Escaped(name));
    }
    text.push_str("</tr>\n");
    let judged = runs.iter().any(|(_, run)| !run.judged_by.is_empty());
    for (name, show) in ROWS.iter().filter(|row| judged || !row.0.contains("overload")) {
        let _ = write!(text, "<tr><td>{name}</td>");
        for (_, run) in runs {
            let _ = write!(text, "<td>{}</td>", Escaped(&show(&run.figures)));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n");
    for (name, run) in runs {
        for violation in &run.violations {
            let _ = writeln!(
                text,
                "<p class=\"bad\">A check failed ({}): {}</p>",
                Escaped(name),
                Escaped(violation)
            );
        }
    }
    text
}

fn plots<'a>(runs: &[(&'a str, &'a RunReport)]) -> Vec<Plot<'a>> {
    let span = runs.first().map_or(0.0, |(_, run)| run.duration_s);
    let threshold = runs.first().and_then(|(_, run)| run.cpu_threshold_percent);
    let plot = |title, value: fn(&ClusterPoint) -> f64| Plot {
        title,
        span,
        lines: lines(runs, value),
        level: None,
        marks: Vec::new(),
    };
    vec![
        Plot {
            level: threshold.map(|percent| (percent, "the rule's threshold")),
            marks: marks(runs),
            ..plot("Highest CPU use of any host, percent", |point| point.highest_cpu_percent)
        },
        Plot {
            marks: marks(runs),
            ..plot("Hosts over a threshold at once", |point| point.hosts_over as f64)
        },
        plot("Power of the cluster, watts", |point| point.watts),
        plot("CPU that guests got, cores", |point| point.given_cores),
    ]
}

fn lines<'a>(runs: &[(&'a str, &'a RunReport)], value: fn(&ClusterPoint) -> f64) -> Vec<Line<'a>> {
    runs.iter()
        .take(2)
        .enumerate()
        .map(|(colour, (label, run))| Line {
            colour,
            label,
            points: run.cluster_series.iter().map(|point| (point.at_s, value(point))).collect(),
        })
        .collect()
}

fn marks(runs: &[(&str, &RunReport)]) -> Vec<Mark> {
    let of_run = |(colour, (_, run)): (usize, &(&str, &RunReport))| -> Vec<Mark> {
        run.moves
            .iter()
            .take(MAX_ROWS)
            .map(|one| Mark {
                at: one.began_s,
                colour,
                says: format!(
                    "{} {}: {} to {}, {}",
                    clock(one.began_s),
                    one.guest,
                    one.from,
                    one.to,
                    one.state
                ),
            })
            .collect()
    };
    runs.iter().take(2).enumerate().flat_map(of_run).collect()
}

fn moves(name: &str, run: &RunReport) -> String {
    if run.moves.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "<h2>Moves: {}</h2>\n<div class=\"wide\"><table>\n<tr><th>at</th><th>guest</th><th>from</th><th>to</th><th>took, s</th><th>sent, MiB</th><th>state</th><th>cause</th><th>target: expected, measured</th></tr>\n",
        Escaped(name)
    );
    for one in run.moves.iter().take(MAX_ROWS) {
        let took = one.ended_s.map_or_else(String::new, |end| format!("{:.1}", end - one.began_s));
        let forecast = one.forecast.as_ref().map_or_else(String::new, |forecast| {
            let measured = forecast.to_measured.map(|value| shown(&forecast.metric, value));
            let expected = shown(&forecast.metric, forecast.to_expected);
            format!("{expected}, {}", measured.as_deref().unwrap_or("not measured"))
        });
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{took}</td><td>{:.0}</td><td>{}</td><td>{}<br><span class=\"soft\">{}</span></td><td>{}</td></tr>",
            clock(one.began_s),
            Escaped(&one.guest),
            Escaped(&one.from),
            Escaped(&one.to),
            one.sent_mib,
            Escaped(one.failure.as_deref().unwrap_or(&one.state)),
            Escaped(&one.cause),
            Escaped(&one.why),
            Escaped(&forecast),
        );
    }
    let more = run.moves.len().saturating_sub(MAX_ROWS);
    if more > 0 {
        let _ = writeln!(text, "<tr><td colspan=\"9\">and {more} more</td></tr>");
    }
    text + "</table></div>\n"
}

fn shown(metric: &str, value: f64) -> String {
    metric
        .parse()
        .map_or_else(|_| format!("{value:.1}"), |metric: drover_model::Metric| metric.show(value))
}
