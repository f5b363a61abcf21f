//! Rules on real load.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::world::{World, crowded, guests_on, items, text};

/// Moves guests to a host until it has so many.
fn gather(world: &World, host: &str, count: usize) -> anyhow::Result<()> {
    for guest in world.lab.spec().guest_names() {
        if guests_on(world, host)?.len() >= count {
            break;
        }
        if world.home(&guest)? != host {
            world.migrate(&guest, host)?;
        }
    }
    Ok(())
}

/// Waits until a host's load has settled, and returns it in percent. Emulated guests on
/// shared cores reach what the machine has left, not what they were told.
fn steady(world: &World, host: &str) -> anyhow::Result<f64> {
    let seen = std::cell::RefCell::new(Vec::new());
    world.until(&format!("a steady load of {host}"), || {
        std::thread::sleep(Duration::from_secs(2));
        let hosts = world.json(&["host", "list"])?;
        let found = items(&hosts).iter().find(|one| one["name"] == host);
        let value = found.and_then(|host| host["cpu_usage_percent"].as_f64());
        let mut seen = seen.borrow_mut();
        seen.extend(value);
        let last = &seen[seen.len().saturating_sub(STEADY)..];
        let (low, high) = (low(last), last.iter().copied().fold(0.0, f64::max));
        Ok(last.len() == STEADY && low >= LEAST_LOAD && high - low <= WOBBLE)
    })?;
    let seen = seen.into_inner();
    Ok(low(&seen[seen.len() - STEADY..]))
}

fn low(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// A threshold that a host with this load is surely above, and is surely below without one
/// of its two guests.
fn line_below(load: f64) -> f64 {
    (load * 0.85).round()
}

/// Values in a row that must lie close together.
const STEADY: usize = 4;
/// How close, percent of the host.
const WOBBLE: f64 = 10.0;
/// Less is no load worth a rule, percent of the host.
const LEAST_LOAD: f64 = 20.0;

pub(crate) fn a_cpu_rule_relieves_its_host(world: &World) -> anyhow::Result<()> {
    let (host, guests) = crowded(world)?;
    world.lab.load(&guests[0], 30)?;
    world.lab.load(&guests[1], 35)?;
    let line = line_below(steady(world, &host)?);
    let start = world.now()?;
    world.drover(&[
        "rule",
        "create",
        "hot",
        &format!("cpu.usage_active > {line}"),
        "--period",
        "10s",
        "--for",
        "2",
        "--source-host",
        &host,
        "--max-moves",
        "1",
        "--cooldown",
        "0s",
    ])?;
    let fired = world.event(start, "rule.fired")?;
    ensure!(fired["host"] == host.as_str(), "{fired}");
    ensure!(fired["detail"]["value"].as_f64() > Some(line), "{fired}");
    ensure!(fired["detail"]["threshold"] == line, "{fired}");
    let made = world.event(start, "plan.made")?;
    ensure!(made["detail"]["moves"].as_array().is_some_and(|moves| moves.len() == 1), "{made}");
    let done = world.event(start, "migration.completed")?;
    let moved = text(&done, "guest").to_owned();
    ensure!(guests.contains(&moved), "{done}");
    ensure!(world.home(&moved)? != host, "{moved} is still on {host}");
    let measured = world.event(start, "plan.measured")?;
    let after = measured["detail"][format!("measured.{host}")].as_f64();
    // Emulated guests on shared cores: a few points of noise around the expected value.
    ensure!(after.is_some_and(|after| after < line + 5.0), "{measured}");
    let cleared = world.events(start, "plan.made")?;
    ensure!(cleared.len() == 1, "more was moved than needed: {cleared:?}");
    Ok(())
}

pub(crate) fn without_a_target_the_reasons_are_recorded(world: &World) -> anyhow::Result<()> {
    let (host, guests) = crowded(world)?;
    let target = world.other(&host);
    // The only target there is would go over the line itself.
    for guest in guests_on(world, &target)?.iter().take(1) {
        world.lab.load(guest, 45)?;
    }
    world.lab.load(&guests[0], 50)?;
    let line = line_below(steady(world, &host)?.min(steady(world, &target)? * 1.2));
    let start = world.now()?;
    world.drover(&[
        "rule",
        "create",
        "stuck",
        &format!("cpu.usage_active > {line}"),
        "--period",
        "10s",
        "--source-host",
        &host,
        "--target-host",
        &target,
        "--cooldown",
        "0s",
    ])?;
    let none = world.event(start, "rule.no_plan")?;
    let refused: Vec<&str> =
        items(&none["detail"]["refused"]).iter().filter_map(Value::as_str).collect();
    ensure!(
        refused.iter().any(|reason| reason.contains(&format!("{target} would go from"))
            && reason.contains("rule `stuck` fires at")),
        "{none}"
    );
    ensure!(
        refused.iter().any(|reason| reason.contains("does not name this host as a target")),
        "{none}"
    );
    ensure!(world.events(start, "plan.made")?.is_empty(), "something was moved");
    let test = world.json(&["rule", "test", "stuck"])?;
    ensure!(
        test["would_fire"] == true && test["plan"]["batches"] == serde_json::json!([]),
        "{test}"
    );
    Ok(())
}

pub(crate) fn a_memory_rule_relieves_its_host(world: &World) -> anyhow::Result<()> {
    gather(world, "h1", 4)?;
    let free = |host: &Value| host["memory_available_bytes"].as_u64();
    let mut hosts = Value::Null;
    world.until("hosts that differ by 300 MiB of free memory", || {
        hosts = world.json(&["host", "list"])?;
        let all: Option<Vec<u64>> = items(&hosts).iter().map(free).collect();
        let all = all.context("a host is not measured")?;
        let (least, most) = (all.iter().min(), all.iter().max());
        Ok(least.zip(most).is_some_and(|(least, most)| *most > least + (300 << 20)))
    })?;
    let free = |host: &Value| free(host).unwrap_or_default();
    let full = items(&hosts).iter().min_by_key(|host| free(host)).expect("three hosts");
    let start = world.now()?;
    // A line that only the fullest host is below, by a little.
    let line = format!("mem.available < {}MiB", (free(full) >> 20) + 20);
    let name = text(full, "name").to_owned();
    world.drover(&[
        "rule",
        "create",
        "full",
        &line,
        "--period",
        "10s",
        "--max-moves",
        "1",
        "--cooldown",
        "0s",
        "--source-host",
        &name,
    ])?;
    let made = world.event(start, "plan.made")?;
    ensure!(made["detail"]["metric"] == "mem.available", "{made}");
    let done = world.event(start, "migration.completed")?;
    ensure!(world.home(text(&done, "guest"))? != name, "{done}");
    Ok(())
}

pub(crate) fn a_dry_run_moves_nothing(world: &World) -> anyhow::Result<()> {
    let (host, guests) = crowded(world)?;
    world.lab.load(&guests[0], 25)?;
    world.lab.load(&guests[1], 25)?;
    let line = line_below(steady(world, &host)?);
    let start = world.now()?;
    world.drover(&[
        "rule",
        "create",
        "paper",
        &format!("cpu.usage_active > {line}"),
        "--period",
        "10s",
        "--dry-run",
        "--source-host",
        &host,
        "--cooldown",
        "0s",
    ])?;
    let made = world.event(start, "plan.made")?;
    ensure!(made["detail"]["dry_run"] == true, "{made}");
    let plan = world.json(&["plan", "show", text(&made, "plan")])?;
    ensure!(plan["state"] == "proposed", "{plan}");
    std::thread::sleep(Duration::from_secs(6));
    ensure!(world.events(start, "migration.started")?.is_empty(), "a dry run moved something");
    Ok(())
}

pub(crate) fn a_second_plan_waits_for_the_first(world: &World) -> anyhow::Result<()> {
    let (host, guests) = crowded(world)?;
    world.lab.load(&guests[0], 25)?;
    world.lab.load(&guests[1], 25)?;
    let line = line_below(steady(world, &host)?);
    let start = world.now()?;
    // A guest of another host is moved slowly, for about 20 s, while the rule fires.
    let other = world.other(&host);
    let traveller = guests_on(world, &other)?.first().cloned();
    let Some(traveller) = traveller else { anyhow::bail!("{other} has no guest") };
    let to = world
        .lab
        .spec()
        .host_names()
        .into_iter()
        .find(|name| *name != host && *name != other)
        .unwrap_or_default();
    let id = world.begin_move(&traveller, &to, "4MiB/s")?;
    world.drover(&[
        "rule",
        "create",
        "later",
        &format!("cpu.usage_active > {line}"),
        "--period",
        "10s",
        "--max-moves",
        "1",
        "--source-host",
        &host,
        "--cooldown",
        "0s",
    ])?;
    let waiting = world.event(start, "rule.waiting")?;
    ensure!(waiting["rule"] == "later", "{waiting}");
    let first = world.finished(&id)?;
    ensure!(first["state"] == "completed", "{first}");
    let made = world.event(start, "plan.made")?;
    ensure!(made["sequence"].as_u64() > waiting["sequence"].as_u64(), "{made}");
    Ok(())
}
