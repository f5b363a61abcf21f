//! Rows: the planner on public problems, beside its peers where they are at hand.
//!
//! Each figure is measured in a process of its own, so that its time and memory are those
//! of a planner that starts, reads, decides and writes. Clusters are made here; ROADEF's
//! and `PlanetLab`'s files are not ours to ship and come from folders that the environment
//! names.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::htools;

#[derive(Debug, clap::Args)]
#[group(id = "planning")]
pub(crate) struct Arguments {
    /// All instances of ROADEF_DIR, and the peer where it takes minutes.
    #[arg(long)]
    long: bool,
}

/// Hosts, guests, moves at most, and whether the peer takes minutes.
const CLUSTERS: [(usize, usize, usize, bool); 3] =
    [(20, 200, 15, false), (50, 500, 55, false), (100, 1000, 95, true)];
/// One that its peer does not get through.
const LARGE: (usize, usize) = (1000, 10_000);
const SEED: u64 = 1;
/// Time for an instance of the ROADEF challenge, seconds.
const ROADEF_SECONDS: &str = "60";
/// Those that are measured unless all are asked for.
const ROADEF_SOME: [&str; 4] = ["a1_4", "b_1", "b_3", "b_9"];

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let hbal = Command::new("hbal").arg("--version").output().is_ok();
    for (hosts, guests, moves, is_long) in CLUSTERS {
        let file = made(dir.path(), hosts, guests)?;
        let limited = balanced(&file, Some(moves))?;
        let peer =
            if hbal && (!is_long || arguments.long) { Some(by_hbal(&file, moves)?) } else { None };
        let figure = format!("{hosts} hosts, {guests} guests, at most {moves} moves");
        compared(&figure, &limited, peer);
        let figure = format!("{hosts} hosts, {guests} guests, any moves");
        compared(&figure, &balanced(&file, None)?, None);
    }
    let (hosts, guests) = LARGE;
    let file = made(dir.path(), hosts, guests)?;
    compared(&format!("{hosts} hosts, {guests} guests, any moves"), &balanced(&file, None)?, None);
    if !hbal {
        println!("| hbal | | not measured: install ganeti-htools | | |");
    }
    match std::env::var_os("ROADEF_DIR") {
        Some(from) => roadef(Path::new(&from), dir.path(), arguments.long)?,
        None => println!("| ROADEF 2012 | not measured: set ROADEF_DIR | | | |"),
    }
    match std::env::var_os("PLANETLAB_DIR") {
        Some(from) => planetlab(Path::new(&from))?,
        None => println!("| PlanetLab | not measured: set PLANETLAB_DIR | | | |"),
    }
    Ok(())
}

fn made(dir: &Path, hosts: usize, guests: usize) -> anyhow::Result<PathBuf> {
    let out = dir.join(format!("{hosts}-{guests}.data"));
    let arguments = htools::ExampleArguments { hosts, guests, seed: SEED, out: out.clone() };
    htools::write_example(&arguments)?;
    Ok(out)
}

/// This program's own command, and the JSON that it prints.
fn own(arguments: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    ensure!(
        output.status.success(),
        "drover-bench {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn balanced(file: &Path, moves: Option<usize>) -> anyhow::Result<Value> {
    let out = file.with_extension("out");
    let moves = moves.map(|moves| moves.to_string());
    let mut arguments = vec!["htools", "--in", path(file)?, "--out", path(&out)?];
    if let Some(moves) = &moves {
        arguments.extend(["--max-moves", moves]);
    }
    own(&arguments)
}

/// Ganeti's own planner on the same file: the score it ends with, and its seconds.
fn by_hbal(file: &Path, moves: usize) -> anyhow::Result<(f64, f64)> {
    let begun = Instant::now();
    let moves = moves.to_string();
    let output = Command::new("hbal")
        .args(["-t", path(file)?, "-l", &moves, "--ignore-dynu"])
        .output()
        .context("run hbal")?;
    let seconds = begun.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("Cluster score improved"));
    let score = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    Ok((score.with_context(|| format!("no score in what hbal printed: {text}"))?, seconds))
}

fn compared(figure: &str, ours: &Value, peer: Option<(f64, f64)>) {
    let of = |name: &str| ours[name].as_f64().unwrap_or(f64::NAN);
    let (score, seconds) = peer.map_or((String::new(), String::new()), |(score, seconds)| {
        (format!("{score:.5}"), format!("{seconds:.1}"))
    });
    let whose = if peer.is_some() { "; peer: hbal" } else { "" };
    let note = format!(
        "from {:.5}; {} moves, {:.0} GiB, {} batches{whose}",
        of("score_before"),
        of("moves"),
        of("gib_moved"),
        of("batches")
    );
    println!("| {figure}: score | {:.5} | {score} | lower is better | {note} |", of("score_after"));
    let note = format!("peak memory {:.1} MiB", of("peak_rss_mib"));
    println!("| {figure}: time | {:.2} | {seconds} | s | {note} |", of("seconds"));
}

fn roadef(from: &Path, dir: &Path, all: bool) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let name = name.strip_prefix("model_").and_then(|name| name.strip_suffix(".txt"));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    names.retain(|name| all || ROADEF_SOME.contains(&name.as_str()));
    for name in names {
        let model = from.join(format!("model_{name}.txt"));
        let initial = from.join(format!("assignment_{name}.txt"));
        let out = dir.join(&name);
        let report = own(&[
            "roadef",
            "--model",
            path(&model)?,
            "--initial",
            path(&initial)?,
            "--out",
            path(&out)?,
            "--seconds",
            ROADEF_SECONDS,
        ])?;
        let memory = report["peak_rss_mib"].as_f64().unwrap_or(f64::NAN);
        let note =
            format!("one core, {ROADEF_SECONDS} s, from {}; {memory:.0} MiB", report["initial"]);
        println!("| ROADEF {name} | {} | | lower is better | {note} |", report["objective"]);
    }
    Ok(())
}

fn planetlab(from: &Path) -> anyhow::Result<()> {
    let mut days = std::fs::read_dir(from)
        .with_context(|| format!("list {}", from.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    days.retain(|day| day.is_dir());
    days.sort();
    for day in days {
        let ours = own(&["planetlab", "--dir", path(&day)?, "--policy", "drover"])?;
        let peer = own(&["planetlab", "--dir", path(&day)?, "--policy", "lr-mmt"]);
        let name = day.file_name().unwrap_or_default().to_string_lossy();
        let of = |report: &Value, key: &str| report[key].as_f64().unwrap_or(f64::NAN);
        let row = |what: &str, key: &str, factor: f64, digits: usize, unit: &str| {
            let shown = |report: &Value| format!("{:.digits$}", of(report, key) * factor);
            let (ours, peer) = (shown(&ours), peer.as_ref().map(shown).unwrap_or_default());
            println!("| PlanetLab {name}: {what} | {ours} | {peer} | {unit} | peer: LR-MMT-1.2 |");
        };
        if let Err(error) = &peer {
            println!("| PlanetLab {name}: LR-MMT-1.2 | | not measured: {error:#} | | |");
        }
        row("energy", "kwh", 1.0, 2, "kWh");
        row("migrations", "migrations", 1.0, 0, "");
        row("energy × SLA violation", "esv", 1000.0, 3, "10⁻³ kWh");
    }
    Ok(())
}
