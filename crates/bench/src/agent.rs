//! What an agent costs on a host with many guests.

use std::time::Duration;

use anyhow::Context as _;
use drover_lab::{Drover, Lab, LabSpec};

use crate::row::{process, single};

/// The agent is watched for so long.
const WATCHED: Duration = Duration::from_secs(60);

pub(crate) fn run(guests: u8) -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join("drover-bench-agent");
    if dir.join("lab.json").exists() {
        Lab::open(&dir)?.down()?;
    }
    let own = std::env::current_exe()?;
    let beside = own.parent().context("a program has a directory")?.to_owned();
    let spec = LabSpec {
        hosts: 1,
        guests: 0,
        sample_interval: "5s".to_owned(),
        ..LabSpec::new("bagent", dir, beside)
    };
    let lab = Lab::up(spec, &|_| {})?;
    let measured = measure(&lab, guests);
    lab.down()?;
    measured
}

fn measure(lab: &Lab, guests: u8) -> anyhow::Result<()> {
    for number in 1..=guests {
        lab.start_paused(&format!("vm{number}"), "h1")?;
    }
    Drover::of(lab).up(&|_| {})?;
    std::thread::sleep(Duration::from_secs(10));
    let pid = lab.pid_of("h1", "agent")?.to_string();
    let (before, _, _) = process(&pid)?;
    std::thread::sleep(WATCHED);
    let (after, resident, anonymous) = process(&pid)?;
    let note = format!("{guests} paused guests, sampled every 5 s, over {} s", WATCHED.as_secs());
    let percent = (after - before) * 100.0 / WATCHED.as_secs_f64();
    println!("| agent CPU | {percent:.2} | | percent of a core | {note} |");
    let note = format!("{guests} guests; {anonymous:.1} MiB of it anonymous");
    single("agent memory, resident", resident, "MiB", &note);
    Ok(())
}
