//! The same guests moved back and forth, by Drover and by `virsh migrate` in turn: wall
//! time, pause, what a client sees; and how Drover behaves when a move is cut short.

mod bed;
mod cases;
mod continuity;
mod drover;
mod forecast;
mod interrupted;
mod overhead;
mod took;
mod virsh;

use clap::Args;

use crate::row::{self, process, single};
use bed::Bed;

/// What is measured, and in which lab.
#[derive(Debug, Clone, Args)]
pub(crate) struct MigrationArguments {
    /// Migrations of each kind.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Name of the lab that is brought up for it.
    #[arg(long, default_value = "bench")]
    lab: String,
}

/// A connection through many moves.
#[derive(Debug, Clone, Args)]
pub(crate) struct ContinuityArguments {
    /// Moves in a row.
    #[arg(long, default_value_t = 100)]
    moves: usize,
    /// Name of the lab that is brought up for it.
    #[arg(long, default_value = "bench")]
    lab: String,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Every case.
    Whole,
    /// A few cases, and a few moves in a row: for the table of all figures.
    Short,
}

/// Moves in a row in the short form.
const FEW_MOVES: usize = 10;

pub(crate) fn run(arguments: &MigrationArguments, extent: Extent) -> anyhow::Result<()> {
    let bed = Bed::up(&arguments.lab)?;
    let measured = measure(&bed, arguments.runs, extent);
    bed.down()?;
    measured
}

pub(crate) fn run_continuity(arguments: &ContinuityArguments) -> anyhow::Result<()> {
    let bed = Bed::up(&arguments.lab)?;
    let measured = continuity::measure(&bed, arguments.moves);
    bed.down()?;
    measured
}

fn measure(bed: &Bed, runs: usize, extent: Extent) -> anyhow::Result<()> {
    load("before")?;
    let moves = cases::measure(bed, runs, extent)?;
    forecast::score(&moves);
    interrupted::measure(bed, runs)?;
    overhead::measure(bed)?;
    let pid = bed.lab.pid_of("ctl", "droverd")?;
    let (_, resident, anonymous) = process(&pid.to_string())?;
    let note = format!("2 hosts; {anonymous:.0} MiB of it anonymous");
    single("droverd memory, resident", resident, "MiB", &note);
    if extent == Extent::Short {
        continuity::measure(bed, FEW_MOVES)?;
    }
    load("after")
}

/// What else the machine does belongs beside the figures.
fn load(when: &str) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?;
    let note = format!("of 5 minutes, {cores} cores");
    row::single(&format!("load of the machine {when} the moves"), row::load()?, "", &note);
    Ok(())
}
