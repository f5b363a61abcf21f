//! The same days with machines that take time to wake: Drover's power levels beside always-on
//! and the published policies.
//!
//! Guests, hosts, demand, sharing and migration are those of the published experiment
//! (`engine`). What differs, for everybody alike:
//!
//! - A host that is told to wake draws its peak watts until it is ready, and takes no guest
//!   before; moves to it begin then. In the experiment it is ready at once and for nothing.
//! - A host that is on without guests draws its idle watts; going down takes as much as a
//!   minute of them.
//! - The published policies know no machines: a host wakes when it is given a guest, and goes
//!   down in the moment in which it has none left, as they mean it.
//! - Drover's levels decide on waking and parking every 300 s, as the policies do on moves, and
//!   relieve hosts that are short as Drover's own policy does, among hosts that are on.
//!
//! There is one day of each set of guests, so the levels have no history to forecast from.

mod levels;
mod machines;
mod published;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use drover_planner::power::{PowerLevel, PowerPolicy};

use super::engine::Memory;
use super::{policies, traces};
use levels::Levels;
use machines::Boot;
use published::{AlwaysOn, Published};
use world::{Figures, Steering, World};

/// Plays every day under every level and policy.
#[derive(Debug, clap::Args)]
pub(crate) struct PowerArguments {
    /// Folder with a folder for each day.
    #[arg(long)]
    dir: PathBuf,
    /// Only these rows: always-on, level-1 to level-5, drover, lr-mmt, iqr-mmt, lr-rs, thr-mmt.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds until a host that is woken is ready.
    #[arg(long, default_value_t = 120)]
    boot_s: u32,
    /// Hosts that the levels keep in reserve.
    #[arg(long, default_value_t = 0)]
    reserve: usize,
    /// Failures that the levels must survive.
    #[arg(long, default_value_t = 0)]
    survive: u8,
    /// Guests keep their memory once they run; not part of the published experiment.
    #[arg(long)]
    keep_memory: bool,
}

/// Longest boot: a move to a woken host must be over before the next step.
const MAX_BOOT_S: u32 = 240;

const ROWS: [&str; 11] = [
    "always-on",
    "level-1",
    "level-2",
    "level-3",
    "level-4",
    "level-5",
    "drover",
    "lr-mmt",
    "iqr-mmt",
    "lr-rs",
    "thr-mmt",
];

pub(crate) fn run(arguments: &PowerArguments) -> Result<()> {
    ensure!(arguments.boot_s <= MAX_BOOT_S, "a boot takes at most {MAX_BOOT_S} s here");
    let known = |name: &&String| !ROWS.contains(&name.as_str());
    if let Some(name) = arguments.only.iter().find(known) {
        anyhow::bail!("there is no row `{name}`: {}", ROWS.join(", "));
    }
    let wanted = |row: &&str| arguments.only.is_empty() || arguments.only.iter().any(|o| o == row);
    let rows: Vec<&str> = ROWS.into_iter().filter(wanted).collect();
    println!("{HEAD}");
    let mut sums: Vec<Figures> = vec![Figures::default(); rows.len()];
    let days = days(&arguments.dir)?;
    for day in &days {
        let name = day.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (row, sum) in rows.iter().zip(&mut sums) {
            let figures = play(day, row, arguments)?;
            println!("| {name} | {row} | {}", shown(&figures));
            sum.add(&figures);
        }
    }
    for (row, sum) in rows.iter().zip(&sums) {
        println!("| mean | {row} | {}", shown(&sum.over(days.len())));
    }
    Ok(())
}

const HEAD: &str = "| day | policy | kWh | kWh after 06:00 | overload, host min | demand not served \
                    | wakes | migrations | hosts on, mean | s |\n|---|---|---|---|---|---|---|---|---|---|";

fn shown(of: &Figures) -> String {
    format!(
        "{:.1} | {:.1} | {:.0} | {:.3} % | {:.0} | {:.0} | {:.1} | {:.1} |",
        of.kwh,
        of.kwh_after_six,
        of.overload_min,
        of.unserved * 100.0,
        of.wakes,
        of.migrations,
        of.mean_on,
        of.seconds
    )
}

fn days(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut days = std::fs::read_dir(dir)
        .with_context(|| format!("list {}", dir.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    days.retain(|day| day.is_dir());
    days.sort();
    ensure!(!days.is_empty(), "no folder of a day in {}", dir.display());
    Ok(days)
}

fn play(day: &Path, row: &str, arguments: &PowerArguments) -> Result<Figures> {
    /// For random selection.
    const SEED: u64 = 1;
    let boot = Boot { seconds: f64::from(arguments.boot_s) };
    let level = row.strip_prefix("level-").and_then(|number| number.parse().ok());
    let mut steering: Box<dyn Steering> = match level.and_then(PowerLevel::of) {
        Some(level) => Box::new(Levels::new(PowerPolicy {
            reserve: arguments.reserve,
            survive_failures: arguments.survive,
            ..PowerPolicy::new(level)
        })),
        None if row == "always-on" => Box::new(AlwaysOn::default()),
        None => Box::new(Published(policies::named(row, SEED)?)),
    };
    let memory = if arguments.keep_memory { Memory::Kept } else { Memory::Released };
    World::new(traces::read_day(day)?, memory, boot).run(steering.as_mut())
}

#[cfg(test)]
mod tests {
    use drover_planner::consolidate::{LoadMove, LoadView};

    use super::super::traces::Trace;
    use super::machines::Machines;
    use super::world::{Commands, Start};
    use super::*;

    /// One guest of 2500 MIPS at 40 % all day on host 1; host 3 is woken and gets it.
    struct Script(Vec<Commands>);

    impl Steering for Script {
        fn start(&mut self, view: &LoadView) -> Result<Start> {
            Ok(Start { places: vec![1; view.guests.len()], on: vec![1] })
        }

        fn turn(&mut self, _: &LoadView, _: &Machines, _: f64) -> Commands {
            if self.0.is_empty() { Commands::default() } else { self.0.remove(0) }
        }
    }

    fn run(commands: Vec<Commands>) -> Figures {
        let trace = Trace::parse(&"40\n".repeat(288)).unwrap();
        let world = World::new(vec![trace], Memory::Released, Boot { seconds: 120.0 });
        world.run(&mut Script(commands)).unwrap()
    }

    #[test]
    fn a_wake_costs_its_boot_and_idle_watts_count() {
        let still = run(Vec::new());
        assert_eq!((still.wakes, still.migrations, still.overload_min), (0.0, 0.0, 0.0));
        let woken = run(vec![Commands { wake: vec![3], ..Commands::default() }]);
        // 120 s at 135 W, then 93.7 W to the last of 287 steps, the first of which woke it
        let idle_s = 285.0 * 300.0 + 300.0 - 120.0;
        let more = (135.0 * 120.0 + 93.7 * idle_s) / 3.6e6;
        assert!((woken.kwh - still.kwh - more).abs() < 1e-6, "{woken:?} {still:?}");
        assert_eq!(woken.wakes, 1.0);
    }

    #[test]
    fn a_parked_host_draws_nothing_once_its_guests_have_left() {
        let step = LoadMove { guest: 0, to: 3 };
        let both = vec![
            Commands { wake: vec![3], ..Commands::default() },
            Commands { park: vec![1], moves: vec![step], ..Commands::default() },
        ];
        let parked = run(both);
        let stayed = run(vec![Commands { wake: vec![3], ..Commands::default() }]);
        assert_eq!((parked.migrations, parked.wakes), (1.0, 1.0));
        // one of the two hosts idles for all but the first ten minutes and the move
        let saved = stayed.kwh - parked.kwh;
        let idle = 93.7 * (285.0 * 300.0 - 60.0) / 3.6e6;
        assert!((saved - idle).abs() < 0.002, "{saved} {idle}");
    }
}
