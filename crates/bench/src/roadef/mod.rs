//! The ROADEF/EURO challenge 2012, machine reassignment: the contest's files, its
//! constraints and its objective.

mod checker;
mod format;
mod problem;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use drover_planner::search::{Limits, Schedule, State, anneal_on_cores};
use rand_pcg::Pcg64;

use crate::clock_patience::{Bound, Since, Until};
use crate::output;

/// A hot start pays: moved processes choke the way back, and much has to be moved.
const SCHEDULE: Schedule = Schedule { hot: 30.0, cold: 0.003 };
/// At the end what moves cost counts, which is far below what loads cost.
const QUENCH: Schedule = Schedule { hot: 0.003, cold: 1e-6 };
/// The quench's part of the time.
const QUENCHED: f64 = 0.1;
/// Kept for the check and the writing, seconds; a thousandth for each process is ample.
const RESERVE: f64 = 0.05;

/// Improves an assignment within a time limit, as in the contest.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The contest's model file.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// Its initial assignment.
    #[arg(long)]
    pub(crate) initial: PathBuf,
    /// Where the new assignment goes.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// For all, reading and writing included.
    #[arg(long, value_parser = crate::roadef::seconds)]
    pub(crate) seconds: f64,
    /// Another seed, another search.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Searches at once; the best is taken.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) cores: u16,
}

#[derive(Debug, serde::Serialize)]
pub(crate) struct Report {
    pub(crate) initial: i128,
    pub(crate) objective: i128,
    pub(crate) feasible: bool,
    pub(crate) moves: usize,
    pub(crate) seconds: f64,
    pub(crate) peak_rss_mib: f64,
}

/// A time limit: a positive number of seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e6 => Ok(seconds),
        _ => Err("a number of seconds above 0, at most 1,000,000".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let named = |path: &Path| format!("in {}", path.display());
    let model =
        format::model(&output::read(&arguments.model)?).with_context(|| named(&arguments.model))?;
    let initial = format::assignment(&output::read(&arguments.initial)?, &model)
        .with_context(|| named(&arguments.initial))?;
    let Ok(before) = checker::check(&model, &initial, &initial) else {
        bail!("{} breaks a constraint of the model from the start", arguments.initial.display());
    };
    let instance = problem::instance(&model, &initial);
    let mut state = State::at_home(&instance);
    let left = arguments.seconds - begun.elapsed().as_secs_f64();
    ensure!(left > 0.0, "reading took {:.1} s: no time is left", arguments.seconds - left);
    let search = left - RESERVE.min(left / 10.0);
    let mut rng = Pcg64::new(u128::from(arguments.seed), 1);
    let cores = usize::from(arguments.cores);
    for (schedule, part) in [(SCHEDULE, 1.0 - QUENCHED), (QUENCH, QUENCHED)] {
        let time = Bound::Time(Duration::from_secs_f64(search * part));
        let mut patience = Until::new(Since::now(), time);
        anneal_on_cores(&mut state, Limits::NONE, schedule, &mut patience, cores, &mut rng);
    }
    let checked = checker::check(&model, &initial, state.assignment());
    let objective = match &checked {
        Ok(objective) => *objective,
        Err(broken) => bail!("the search broke constraints: {}", broken.join("; ")),
    };
    let machines: Vec<String> = state.assignment().iter().map(u32::to_string).collect();
    output::write(&arguments.out, &(machines.join(" ") + "\n"))?;
    Ok(Report {
        initial: before,
        objective,
        feasible: checked.is_ok(),
        moves: state.displaced().len(),
        seconds: begun.elapsed().as_secs_f64(),
        peak_rss_mib: output::peak_rss_mib(),
    })
}

#[cfg(test)]
mod tests;
