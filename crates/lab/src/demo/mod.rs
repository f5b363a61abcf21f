//! The main job, shown live: a rule, a host that grows hot, the plan with its reasons, the
//! live migration, and what a client of the moved guest saw.

mod power;
mod story;

use anyhow::ensure;

use crate::{Drover, Lab, ProbeHandle, ProbeReport};

pub use power::demo_power;
use story::{Moved, Story, Watched};

/// The two guests of the first host: one is busy from the start, the other grows.
const STEADY: (&str, u8) = ("vm1", 25);
const WATCHED: Watched = Watched {
    metric: "cpu.usage_active",
    unit: "%",
    threshold: 60.0,
    enough: 5.0,
    full: 100.0,
    growing: "vm4",
    steps: &[10, 20, 30, 35, 40, 45],
};

/// Runs the demonstration on a lab that is up. Fails when a client lost anything.
pub fn demo(lab: &Lab) -> anyhow::Result<()> {
    let drover = Drover::of(lab);
    title("The rule");
    let rule =
        ["rule", "create", "hot", "cpu.usage_active > 60", "--period", "10s", "--max-moves", "1"];
    println!("$ drover rule create hot 'cpu.usage_active > 60' --period 10s --max-moves 1");
    println!("{}", indent(&drover.drover(&rule)?));
    let mut story = Story::follow(lab, WATCHED)?;
    title(
        "A client connects to both guests of h1: 20 Hz ping, numbered lines over one TCP connection",
    );
    let probes = connect(lab)?;
    title("Load grows on h1");
    lab.load(STEADY.0, STEADY.1)?;
    let outcome = story.until_moved(lab);
    let reports = finish(probes)?;
    let moved = outcome?;
    title("Afterwards");
    println!("{}", indent(&drover.drover(&["host", "list"])?));
    println!("{}", indent(&drover.drover(&["guest", "list"])?));
    title("Summary");
    summary(&moved, &reports)
}

/// A client for each guest of the first host.
fn connect(lab: &Lab) -> anyhow::Result<Vec<(&'static str, ProbeHandle)>> {
    let guests = [STEADY.0, WATCHED.growing].into_iter();
    guests.map(|guest| Ok((guest, lab.probe(guest, None)?))).collect()
}

fn finish(probes: Vec<(&'static str, ProbeHandle)>) -> anyhow::Result<Vec<(String, ProbeReport)>> {
    probes.into_iter().map(|(guest, probe)| Ok((guest.to_owned(), probe.finish()?))).collect()
}

fn summary(moved: &Moved, reports: &[(String, ProbeReport)]) -> anyhow::Result<()> {
    println!("  {}", moved.text);
    for (guest, report) in reports {
        let role = if *guest == moved.guest { "moved" } else { "stayed" };
        println!(
            "  client of {guest} ({role}): ping {} sent, {} lost, longest gap {:.0} ms",
            report.ping_sent, report.ping_lost, report.ping_longest_gap_ms
        );
        println!(
            "                         tcp {} lines sent, {} came back, {}, longest gap {:.0} ms",
            report.tcp_sent,
            report.tcp_echoed,
            if report.is_unbroken() { "none lost, none out of order" } else { "BROKEN" },
            report.tcp_longest_gap_ms
        );
    }
    let broken: Vec<&str> = reports
        .iter()
        .filter(|(_, report)| !report.is_unbroken())
        .map(|(guest, _)| guest.as_str())
        .collect();
    ensure!(broken.is_empty(), "the TCP connection to {} broke", broken.join(", "));
    Ok(())
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("  {line}\n")).collect()
}
