//! `drover sim`: rules on a modelled cluster.

mod backtest;
mod export;
mod recorded;
mod rule_file;
mod show;
mod traced;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use drover_api::{Problem, ProblemKind};
use drover_model::parse_duration;
use drover_sim::read::ReadError;
use drover_sim::{Comparison, PowerCurve, RunReport, Settings, SettingsError, page};
use serde::Serialize;

use super::{Context, Done};
use crate::output::{self, Format};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run rules on a trace, beside the same trace with nobody moving anything.
    Run(traced::Run),
    /// What a rule would have done with the history that droverd has recorded.
    Backtest(backtest::Backtest),
}

/// What both take.
#[derive(Debug, Args)]
struct Common {
    /// File with a rule as `drover rule show -o yaml` prints it, or with `name` and `spec`;
    /// JSON or YAML; repeatable. It acts, also when the file says that it is disabled or a
    /// dry run.
    #[arg(long = "rule", value_name = "FILE")]
    rules: Vec<PathBuf>,
    /// What all chance comes from: the same seed gives the same answer.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Between two samples [default: 5s up to a day, 30s up to a month, else 5m].
    #[arg(long, value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Watts of hosts whose curve is not known: idle..peak or a curve's name (hp-ml110-g4,
    /// hp-ml110-g5, ibm-x3550-m3) [default: 100..250].
    #[arg(long)]
    power: Option<PowerCurve>,
    /// Write a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Commands that need no controller are done here; the others are given back.
pub(crate) fn offline(format: Format, command: &Command) -> Option<Done> {
    match command {
        Command::Run(run) => Some(traced::run(format, run)),
        Command::Backtest(_) => None,
    }
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    match command {
        Command::Run(run) => traced::run(context.format, &run),
        Command::Backtest(backtest) => backtest::run(context, &backtest).await,
    }
}

/// Runs, without and with the rules.
fn compare(
    settings: Settings,
    before: Settings,
    before_is: &str,
    assumptions: Vec<String>,
) -> Result<Comparison, Problem> {
    let names: Vec<String> =
        settings.rules.iter().map(|rule| format!("rule {}", rule.name)).collect();
    Ok(Comparison {
        before_is: before_is.to_owned(),
        before: drover_sim::run(before).map_err(|error| cannot_run(&error))?,
        after_is: names.join(", "),
        after: drover_sim::run(settings).map_err(|error| cannot_run(&error))?,
        assumptions,
    })
}

/// Prints what came of it, and writes the page.
fn finish<T: Serialize>(
    format: Format,
    html: Option<&Path>,
    answer: &T,
    runs: &[(&str, &RunReport)],
    assumptions: &[String],
) -> Done {
    if let Some(path) = html {
        let text = page::page("drover sim", runs, assumptions);
        std::fs::write(path, text).map_err(|error| {
            bad(format!("{} cannot be written: {error}", path.display()))
                .hint("name a file in a folder that is there")
        })?;
    }
    output::print(format, answer, |wide| show::runs(runs, assumptions, wide))?;
    let violations: usize = runs.iter().map(|(_, run)| run.violations.len()).sum();
    if violations > 0 {
        let text = format!("{violations} checks of the run failed: this is a fault in Drover");
        return Err(Problem::new(ProblemKind::Internal, text)
            .hint("report it with the seed, the rule and the trace"));
    }
    Ok(())
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}

fn unread(error: ReadError) -> Problem {
    bad(error.to_string()).hint(error.cure)
}

fn cannot_run(error: &SettingsError) -> Problem {
    let hint = match error {
        SettingsError::Interval | SettingsError::TooLong { .. } => "choose another --interval",
        SettingsError::Duration => "choose a longer --duration or a shorter --interval",
        SettingsError::Failures(_) => "choose a longer --mtbf",
        SettingsError::Model(_) | SettingsError::Unknown(_) => "`drover sim run --help` explains",
    };
    bad(error.to_string()).hint(hint)
}
