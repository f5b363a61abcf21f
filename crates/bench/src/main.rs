//! Measures the figures of docs/benchmarks.md: one row per figure, the peer beside it in
//! the same run where there is one. Its planning commands take public problems as files
//! and print one JSON line each.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "rows are what it is for")]

mod agent;
mod clock_patience;
mod htools;
mod ingest;
mod migration;
mod output;
mod planetlab;
mod planning;
mod roadef;
mod row;
mod synth;

use clap::{Parser, Subcommand};
use migration::Extent;

#[derive(Debug, Parser)]
#[command(
    name = "drover-bench",
    about = "Measures the figures of docs/benchmarks.md: all rows, or what is named",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    migration: migration::MigrationArguments,
    #[command(flatten)]
    agent: AgentArguments,
    #[command(flatten)]
    planning: planning::Arguments,
}

#[derive(Debug, clap::Args)]
struct AgentArguments {
    /// Guests of the agent's figures.
    #[arg(long, default_value_t = 50)]
    guests: u8,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Rows: Drover's moves beside `virsh migrate` of the same guests; needs root.
    Migration(migration::MigrationArguments),
    /// Rows: a client's connection through many moves in a row; needs root.
    Continuity(migration::ContinuityArguments),
    /// Rows: CPU and memory of an agent with many guests; needs root.
    Agent(AgentArguments),
    /// Rows: samples that one droverd takes.
    Ingest,
    /// Rows: the planner beside its peers on public problems.
    Planning(planning::Arguments),
    /// Evens out a cluster in Ganeti's text format.
    Htools(htools::Arguments),
    /// Writes a cluster in Ganeti's text format that is far from even.
    HtoolsExample(htools::ExampleArguments),
    /// Improves an assignment of the ROADEF/EURO challenge 2012.
    Roadef(roadef::Arguments),
    /// Plans for a made cluster with users' wishes.
    Synth(synth::Arguments),
    /// Replays a day of the PlanetLab consolidation experiment.
    Planetlab(planetlab::Arguments),
    /// Rows: the power levels on PlanetLab days, beside always-on and published policies, where
    /// waking a host takes time and energy.
    PlanetlabPower(planetlab::power::PowerArguments),
}

fn main() -> std::process::ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.which {
        None => {
            row::head();
            ingest::run()?;
            migration::run(&arguments.migration, Extent::Short)?;
            agent::run(arguments.agent.guests)?;
            planning::run(&arguments.planning)?;
        }
        Some(Which::Ingest) => {
            row::head();
            ingest::run()?;
        }
        Some(Which::Migration(migration)) => {
            row::head();
            migration::run(&migration, Extent::Whole)?;
        }
        Some(Which::Continuity(continuity)) => {
            row::head();
            migration::run_continuity(&continuity)?;
        }
        Some(Which::Agent(agent)) => {
            row::head();
            agent::run(agent.guests)?;
        }
        Some(Which::Planning(planning)) => {
            row::head();
            planning::run(&planning)?;
        }
        Some(Which::Htools(arguments)) => output::json(&htools::run(&arguments)?)?,
        Some(Which::HtoolsExample(arguments)) => htools::write_example(&arguments)?,
        Some(Which::Roadef(arguments)) => output::json(&roadef::run(&arguments)?)?,
        Some(Which::Synth(arguments)) => output::json(&synth::run(&arguments)?)?,
        Some(Which::Planetlab(arguments)) => output::json(&planetlab::run(&arguments)?)?,
        Some(Which::PlanetlabPower(arguments)) => planetlab::power::run(&arguments)?,
    }
    Ok(())
}
