//! Ganeti's clusters: its text format, its score, and a plan that evens the cluster out.

mod example;
mod format;
mod problem;
mod score;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use drover_planner::search::{
    Descent, Instance, Lanes, Limits, Schedule, State, anneal, descend, order,
};
use rand_pcg::Pcg64;

pub(crate) use example::{ExampleArguments, write_example};

use crate::clock_patience::{Bound, Clock, EndedBy, Since, Until};
use crate::output;

/// Where moves are counted, each counts: none costs by itself.
const LIMITED: Schedule = Schedule { hot: 3.0, cold: 0.03 };
/// Guests of a small cluster.
const SMALL: f64 = 400.0;
/// The descent from which the search begins.
const DESCENT: Descent = Descent { steepest: 400_000, all: 400_000 };
/// The descent that a search must beat where moves are counted: it always comes to its end,
/// so all moves are used that gain.
const WHOLE_DESCENT: Descent = Descent { steepest: 30_000_000, all: u64::MAX };
/// Where they are not, a move must be worth its price.
const UNLIMITED: Schedule = Schedule { hot: 1.0, cold: 0.003 };
/// Most moves that leave one node, or come to it, in one batch.
const LANES: Lanes = Lanes { out: 2, into: 2, all: usize::MAX };
/// The longest search that nobody asked for: trials.
const LONGEST: f64 = 4.7 * TRIALS;
/// Trials of a second on the machine of docs/benchmarks.md, when it is quiet.
const TRIALS: f64 = 8e6;
/// The clock stops a search of so many times the seconds that it should take, and so many.
const PATIENT: (f64, f64) = (100.0, 60.0);

/// Evens out a cluster in Ganeti's text format.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The cluster, as `htools -t` reads it.
    #[arg(long = "in")]
    pub(crate) input: PathBuf,
    /// Where the cluster goes with its instances moved.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Most instances that move; default any number that is worth it.
    #[arg(long)]
    pub(crate) max_moves: Option<usize>,
    /// Of search. By default its work is counted instead, by the size of the cluster (5
    /// seconds at most on a quiet machine): the same answer on every machine.
    #[arg(long, value_parser = crate::roadef::seconds)]
    pub(crate) seconds: Option<f64>,
    /// Another seed, another search.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, serde::Serialize)]
pub(crate) struct Report {
    pub(crate) score_before: f64,
    pub(crate) score_after: f64,
    pub(crate) moves: usize,
    pub(crate) gib_moved: f64,
    pub(crate) seconds: f64,
    pub(crate) peak_rss_mib: f64,
    pub(crate) batches: usize,
    /// Steps to a third node, where none could begin otherwise.
    pub(crate) bypasses: usize,
    /// Moves that were given up since no order makes them possible.
    pub(crate) dropped: usize,
    pub(crate) ended_by: EndedBy,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let text = output::read(&arguments.input)?;
    let file = format::read(&text).with_context(|| format!("in {}", arguments.input.display()))?;
    if file.has_secondaries() {
        eprintln!("warning: instances with a secondary node stay; the score leaves N+1 out");
    }
    let wish =
        Wish { max_moves: arguments.max_moves, seconds: arguments.seconds, seed: arguments.seed };
    let (at, report) = rebalance(&file, wish, Since::now())?;
    let moved = file.moved(&at);
    output::write(&arguments.out, &moved.to_string())?;
    Ok(Report {
        score_after: score::score(&moved),
        seconds: begun.elapsed().as_secs_f64(),
        peak_rss_mib: output::peak_rss_mib(),
        ..report
    })
}

/// What is wanted of a plan.
#[derive(Debug, Clone, Copy)]
struct Wish {
    max_moves: Option<usize>,
    seconds: Option<f64>,
    seed: u64,
}

/// Where each instance goes, and how that comes about.
fn rebalance(
    file: &format::File,
    wish: Wish,
    clock: impl Clock,
) -> anyhow::Result<(Vec<u32>, Report)> {
    let guests = count(file.instances.len());
    let gib: f64 = file.instances.iter().map(|machine| machine.memory / 1024.0).sum();
    let (per_move, per_gib) = match wish.max_moves {
        Some(_) => (0.0, 0.0),
        None => {
            let (moves, memory) = prices(guests);
            (moves / guests.max(1.0), memory / gib.max(1.0))
        }
    };
    let instance = problem::instance(file, per_move, per_gib);
    let (state, ended_by) = improve(&instance, wish, clock)?;
    let order =
        order(&instance, state.assignment(), LANES, &|guest| 1.0 + instance.objective.bytes[guest]);
    let mut at = state.assignment().to_vec();
    for guest in &order.dropped {
        at[*guest as usize] = instance.home[*guest as usize];
    }
    let reached = State::of(&instance, at);
    let report = Report {
        score_before: score::score(file),
        score_after: f64::NAN,
        moves: reached.displaced().len(),
        gib_moved: reached.bytes(),
        seconds: 0.0,
        peak_rss_mib: 0.0,
        batches: order.batches.len(),
        bypasses: order.bypasses,
        dropped: order.dropped.len(),
        ended_by,
    };
    Ok((reached.assignment().to_vec(), report))
}

/// The best assignment that a search finds, and what ended it.
fn improve(
    instance: &Instance,
    wish: Wish,
    clock: impl Clock,
) -> anyhow::Result<(State<'_>, EndedBy)> {
    let guests = count(instance.guests());
    let limited = wish.max_moves.is_some();
    let limits = Limits { moves: wish.max_moves.unwrap_or(usize::MAX), ..Limits::NONE };
    let schedule = if limited { LIMITED } else { UNLIMITED };
    // A small cluster has traps, and time for more than one try.
    let tries: u32 = if guests <= SMALL && !limited { 2 } else { 1 };
    let bound = match wish.seconds {
        Some(seconds) => Bound::Time(Duration::from_secs_f64(seconds / f64::from(tries))),
        None => default_bound(guests, limited, tries),
    };
    let mut rng = Pcg64::new(u128::from(wish.seed), 1);
    (0..tries)
        .map(|_| {
            let mut state = State::at_home(instance);
            descend(&mut state, limits, DESCENT);
            let mut patience = Until::new(clock, bound);
            anneal(&mut state, limits, schedule, &mut patience, &mut rng);
            if limited {
                // Beside it, not before it: from where all moves are used up already the
                // search ends worse.
                let mut simplest = State::at_home(instance);
                descend(&mut simplest, limits, WHOLE_DESCENT);
                if simplest.cost() < state.cost() {
                    state = simplest;
                }
                descend(&mut state, limits, WHOLE_DESCENT);
            }
            (state, patience.ended_by())
        })
        .reduce(|best, next| {
            let ended_by = if best.1 == EndedBy::Clock { best.1 } else { next.1 };
            (if next.0.cost() < best.0.cost() { next.0 } else { best.0 }, ended_by)
        })
        .context("there is at least one try")
}

/// What moving every guest would cost, and sending all their memory, in points of score. Up
/// to a thousand guests memory is what a good balance takes most of; in larger clusters it
/// is moves.
fn prices(guests: f64) -> (f64, f64) {
    let large = (guests / 1000.0).max(1.0).log10().min(1.0);
    (0.05 + 0.07 * large, 0.22 - 0.1 * large)
}

/// Enough that longer searches find little more: few moves are found sooner.
fn default_bound(guests: f64, limited: bool, tries: u32) -> Bound {
    let thousands = guests / 1000.0;
    let seconds =
        if limited { 0.012 + 0.75 * thousands.powf(1.5) } else { 3.5 * thousands.powf(1.9) };
    let trials = (seconds * TRIALS).clamp(0.02 * TRIALS, LONGEST) / f64::from(tries);
    let (times, least) = PATIENT;
    let at_most = Duration::from_secs_f64(least + times * trials / TRIALS);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and LONGEST"
    )]
    let trials = trials as u64;
    Bound::Work { trials, at_most }
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
const fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
