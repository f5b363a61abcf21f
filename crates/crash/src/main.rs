//! `drover-crash`: many schedules, on as many threads as there are processors.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use drover_crash::{Habits, Schedule, Tally, Violation, run, shrink};

/// Schedules that a thread takes at once.
const SHARE: u64 = 64;

/// Failing seeds that are named for each promise.
const MAX_NAMED: usize = 10;

/// Seeds that broke a promise.
type Failing = BTreeMap<Violation, Vec<u64>>;

/// Plays migrations under random faults and checks that no guest is doubled or lost.
#[derive(Debug, Parser)]
#[command(name = "drover-crash", version, max_term_width = 100)]
struct Arguments {
    /// How many schedules.
    #[arg(long, default_value_t = 100_000)]
    schedules: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; as many as processors when 0.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Failing schedules that are shown for each broken promise, shrunk and with their traces.
    #[arg(long, default_value_t = 1)]
    show: usize,
    /// Show the trace of the first seed, whatever comes of it.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.trace {
        let outcome = run(&Schedule::draw(arguments.seed), Habits::default(), true);
        println!("{}", outcome.trace.join("\n"));
    }
    let begun = Instant::now();
    let (tally, mut failing) = play(&arguments);
    for (violation, seeds) in &mut failing {
        seeds.sort_unstable();
        for seed in seeds.iter().take(arguments.show) {
            show(*seed, *violation);
        }
    }
    for (violation, seeds) in &failing {
        let named: Vec<String> = seeds.iter().take(MAX_NAMED).map(u64::to_string).collect();
        println!("{violation:?}: {} schedules, seeds {} …", seeds.len(), named.join(" "));
    }
    println!(
        "completed migrations {}, messages {}, schedules that broke a promise {}",
        tally.completed, tally.messages, tally.failed
    );
    println!("{tally}, seconds {:.1}", begun.elapsed().as_secs_f64());
    if failing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(arguments: &Arguments) -> (Tally, Failing) {
    let next = AtomicU64::new(0);
    let total = Mutex::new((Tally::default(), Failing::new()));
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if arguments.threads == 0 { processors() } else { arguments.threads };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(arguments, &next, &total));
        }
    });
    total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn work(arguments: &Arguments, next: &AtomicU64, total: &Mutex<(Tally, Failing)>) {
    loop {
        let first = next.fetch_add(SHARE, Ordering::Relaxed);
        if first >= arguments.schedules {
            return;
        }
        let mut tally = Tally::default();
        let mut failing = Vec::new();
        for number in first..(first + SHARE).min(arguments.schedules) {
            let seed = arguments.seed + number;
            let outcome = run(&Schedule::draw(seed), Habits::default(), false);
            tally += outcome.tally;
            failing.extend(outcome.violations.iter().map(|(violation, _)| (*violation, seed)));
        }
        let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        total.0 += tally;
        for (violation, seed) in failing {
            total.1.entry(violation).or_default().push(seed);
        }
    }
}

fn show(seed: u64, violation: Violation) {
    let whole = Schedule::draw(seed);
    let short = shrink(&whole, Habits::default(), violation);
    let (kept, all) = (short.faults.len(), whole.faults.len());
    println!("seed {seed} breaks {violation:?}; so does this, with {kept} of its {all} faults:");
    for launch in &short.launches {
        println!("  {} ms: migrate, {} ms of memory", launch.at, launch.transfer);
    }
    for fault in &short.faults {
        println!("  {fault}");
    }
    println!("{}\n", run(&short, Habits::default(), true).trace.join("\n"));
}
