//! Measures the figures of docs/benchmarks.md: one row per figure, the peer beside it in
//! the same run where there is one. Needs root for all but `ingest`.

#![allow(clippy::print_stdout, reason = "rows are what it is for")]

mod agent;
mod ingest;
mod migration;
mod row;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "drover-bench", about = "Measures the figures of docs/benchmarks.md")]
struct Arguments {
    /// Which; default all.
    which: Option<Which>,
    /// Migrations of each kind.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Guests of the agent's figures.
    #[arg(long, default_value_t = 50)]
    guests: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// Drover's move beside `virsh migrate` of the same guest.
    Migration,
    /// CPU and memory of an agent with many guests.
    Agent,
    /// Samples that one droverd takes.
    Ingest,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let wanted = |which| arguments.which.is_none_or(|only| only == which);
    row::head();
    if wanted(Which::Ingest) {
        ingest::run()?;
    }
    if wanted(Which::Migration) {
        migration::run(arguments.runs)?;
    }
    if wanted(Which::Agent) {
        agent::run(arguments.guests)?;
    }
    Ok(())
}
