//! Who measures what a host draws, and that a host switches itself off.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use drover_lab::powercap::{BUSY_WATTS, IDLE_WATTS, SEEN_SHARE, machine_watts};
use drover_lab::{Drover, Lab};
use serde_json::Value;

use super::ground::Ground;
use super::world::{World, crowded};

/// Guests that compute add so much to their host's load, percent, however slow the machine.
const MORE_LOAD: f64 = 15.0;
/// RAPL sees 19 W more for that.
const RISE: f64 = 12.0;
/// A machine that is busy otherwise gives guests little at times.
const PATIENCE: Duration = Duration::from_secs(120);
/// Samples of power and CPU are taken a moment apart, and ticks are coarse.
const NOISE: f64 = 10.0;

fn said(words: &[&str], printed: &str) {
    eprintln!("$ drover {}\n{printed}", words.join(" "));
}

fn sources(host: &Value) -> Vec<&str> {
    host["power_sources"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn metric(of: &Value, name: &str) -> Option<f64> {
    of["metrics"][name].as_f64()
}

/// Watts and CPU use of a host, as `drover host show` has them.
fn measured(world: &World, host: &str) -> anyhow::Result<(f64, f64)> {
    let shown = world.json(&["host", "show", host])?;
    let watts = metric(&shown, "power.watts").context("no power.watts")?;
    Ok((watts, metric(&shown, "cpu.usage_active").context("no cpu.usage_active")?))
}

/// The mean of some samples in a row.
fn mean(world: &World, host: &str) -> anyhow::Result<(f64, f64)> {
    const SAMPLES: u8 = 5;
    let mut sum = (0.0, 0.0);
    for _ in 0..SAMPLES {
        std::thread::sleep(Duration::from_secs(2));
        let (watts, load) = measured(world, host)?;
        sum = (sum.0 + watts, sum.1 + load);
    }
    Ok((sum.0 / f64::from(SAMPLES), sum.1 / f64::from(SAMPLES)))
}

pub(crate) fn watts_follow_the_load_of_a_host(world: &World) -> anyhow::Result<()> {
    let (host, guests) = crowded(world)?;
    let shown = world.drover(&["host", "show", &host])?;
    said(&["host", "show", &host], &shown);
    let detail = world.json(&["host", "show", &host])?;
    ensure!(sources(&detail) == ["rapl", "model"], "{:?}", sources(&detail));
    world.until("a quiet host", || Ok(measured(world, &host)?.1 < 30.0))?;
    let (idle, quiet) = mean(world, &host)?;
    world.lab.load(&guests[0], 95)?;
    let seen = Cell::new((0.0, 0.0));
    world.within(PATIENCE, "a busy host", || {
        seen.set(mean(world, &host)?);
        Ok(seen.get().1 > quiet + MORE_LOAD)
    })?;
    let (busy, load) = seen.get();
    eprintln!("{host}: {idle:.1} W at {quiet:.0} % of its CPU, {busy:.1} W at {load:.0} %");
    ensure!(busy > idle + RISE, "{idle:.1} W grew to {busy:.1} W only");
    ensure!(idle > SEEN_SHARE * IDLE_WATTS - 1.0 && busy < SEEN_SHARE * BUSY_WATTS + 1.0);
    let expected = SEEN_SHARE * machine_watts(load / 100.0);
    ensure!(
        (busy - expected).abs() < NOISE,
        "{busy:.1} W where the counters' curve has {expected:.1}"
    );

    // Packages are seven parts of the eight that RAPL sees.
    let detail = world.json(&["host", "show", &host])?;
    let watts = metric(&detail, "power.watts").context("no power.watts")?;
    let packages = metric(&detail, "power.package_watts").context("no power.package_watts")?;
    ensure!((packages - watts * 7.0 / 8.0).abs() < 1.0, "{packages:.1} W of {watts:.1}");

    // The guest that computes is told to draw it.
    let of = |guest: &str| {
        let shown = world.json(&["guest", "show", guest])?;
        metric(&shown, "guest.power_watts").context("no guest.power_watts")
    };
    let (first, second) = (of(&guests[0])?, of(&guests[1])?);
    eprintln!("{}: {first:.1} W, {}: {second:.1} W", guests[0], guests[1]);
    ensure!(
        first > 1.5 * second && first + second < watts,
        "{first:.1} W and {second:.1} W of {watts:.1}"
    );
    Ok(())
}

pub(crate) fn watts_are_estimated_where_nothing_counts(world: &World) -> anyhow::Result<()> {
    let host = "h3";
    let first = || -> anyhow::Result<String> {
        let shown = world.json(&["host", "show", host])?;
        Ok(sources(&shown).first().copied().unwrap_or_default().to_owned())
    };
    world.until("energy counters", || Ok(first()? == "rapl"))?;
    world.lab.hide_powercap(host, true)?;
    let told = (|| {
        world.until("the model in place of the counters", || Ok(first()? == "model"))?;
        // One sample has begun with the one and ended with the other.
        world.until("watts by the model", || Ok(measured(world, host)?.0 >= IDLE_WATTS))?;
        let (watts, load) = mean(world, host)?;
        let expected = machine_watts(load / 100.0);
        ensure!((watts - expected).abs() < NOISE, "{watts:.1} W where {expected:.1} were expected");
        let shown = world.json(&["host", "show", host])?;
        ensure!(metric(&shown, "power.package_watts").is_none(), "nothing counts packages");
        said(&["host", "show", host], &world.drover(&["host", "show", host])?);
        Ok(())
    })();
    world.lab.hide_powercap(host, false)?;
    told?;
    world.until("the counters again", || Ok(first()? == "rapl"))
}

/// The host's own order, as its agent gives it; the question that makes it do so is tested in
/// the agent.
pub(crate) fn a_host_switches_itself_off(ground: &Ground) -> anyhow::Result<()> {
    ground.beside("loff", 1, |small| {
        let lab = &small.lab;
        let own = lab.exec("h1", &["cat", "/etc/drover/agent.toml"])?;
        ensure!(own.contains(r#"off_command = ["kill", "-s", "RTMIN+4", "1"]"#), "{own}");
        ensure!(answers(lab), "h1 answers while it is on");
        lab.exec("h1", &["kill", "-s", "RTMIN+4", "1"])?;
        small.until("h1 to be off", || Ok(lab.status()?.iter().all(|host| !host.on)))?;
        ensure!(!answers(lab), "h1 is off and answers");
        small.until("its agent's farewell", || {
            Ok(small.json(&["host", "show", "h1"])?["state"] != "online")
        })?;
        lab.power_on("h1")?;
        Drover::of(lab).join("h1")?;
        ensure!(answers(lab), "h1 does not answer although it is on again");
        small.until("its agent", || Ok(small.json(&["host", "show", "h1"])?["state"] == "online"))
    })
}

fn answers(lab: &Lab) -> bool {
    let Ok(address) = lab.address("h1") else { return false };
    lab.exec("ctl", &["ping", "-c", "1", "-W", "1", &address]).is_ok()
}
