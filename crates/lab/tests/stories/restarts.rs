//! Programs and hosts that die in the middle.

use std::time::{Duration, Instant};

use anyhow::ensure;
use drover_lab::{Drover, LinkState, Network};

use super::world::{World, text};

/// An operation must be taken up again within so long after a restart.
const ADOPTED_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn droverd_restarts_in_mid_migration(world: &World) -> anyhow::Result<()> {
    let from = world.home("vm4")?;
    let to = world.other(&from);
    let probe = world.lab.probe("vm4", None)?;
    let id = world.begin_slow_move("vm4", &to)?;
    world.lab.kill_daemon("ctl", "droverd")?;
    let killed = Instant::now();
    // Adopted means: progress is heard again by the new process.
    world.until("the operation's progress after the restart", || {
        Ok(world.json(&["operation", "show", &id])?["progress"].is_object())
    })?;
    let adopted = killed.elapsed();
    let operation = world.finished(&id)?;
    ensure!(operation["state"] == "completed", "{operation}");
    ensure!(world.home("vm4")? == to, "vm4 is not on {to}");
    std::thread::sleep(Duration::from_secs(1));
    let report = probe.finish()?;
    ensure!(report.is_unbroken(), "the client lost something: {report:?}");
    ensure!(adopted < ADOPTED_WITHIN, "adopted only after {adopted:?}");
    Ok(())
}

pub(crate) fn the_agents_restart_in_mid_migration(world: &World) -> anyhow::Result<()> {
    let from = world.home("vm5")?;
    let to = world.other(&from);
    let id = world.begin_slow_move("vm5", &to)?;
    world.lab.kill_daemon(&from, "agent")?;
    world.lab.kill_daemon(&to, "agent")?;
    let operation = world.finished(&id)?;
    let home = world.home("vm5")?;
    match text(&operation, "state") {
        "completed" => ensure!(home == to, "vm5 is on {home}"),
        "failed" | "cancelled" => ensure!(home == from, "vm5 is on {home}"),
        other => anyhow::bail!("the operation ended as {other}"),
    }
    world.until("both agents", || {
        let hosts = world.json(&["host", "list"])?;
        Ok(super::world::all(&hosts, |host| host["state"] == "online"))
    })
}

pub(crate) fn a_host_that_loses_power(world: &World) -> anyhow::Result<()> {
    let start = world.now()?;
    let lost: Vec<String> =
        world.lab.virsh("h3", &["list", "--name"])?.split_whitespace().map(str::to_owned).collect();
    world.lab.power_off("h3")?;
    let said = world.event(start, "host.unreachable")?;
    ensure!(said["host"] == "h3", "{said}");
    for guest in &lost {
        let shown = world.json(&["guest", "show", guest])?;
        ensure!(shown["state"] == "unknown" && shown["host"] == "h3", "{shown}");
    }
    ensure!(world.events(start, "migration.started")?.is_empty(), "something was started");
    world.lab.power_on("h3")?;
    Drover::of(&world.lab).join("h3")?;
    world.until("h3 online", || Ok(world.json(&["host", "show", "h3"])?["state"] == "online"))?;
    for guest in &lost {
        world.lab.virsh("h3", &["start", guest])?;
    }
    for guest in &lost {
        world.until(guest, || Ok(world.lab.guest_exec(guest, "cat /run/beat").is_ok()))?;
    }
    Ok(())
}

pub(crate) fn a_cut_cable_stops_nothing_else(world: &World) -> anyhow::Result<()> {
    let start = world.now()?;
    world.lab.link("h2", Network::Management, LinkState::Down)?;
    let said = world.event(start, "host.unreachable")?;
    ensure!(said["host"] == "h2", "{said}");
    // The guests of h2 go on: their network is another cable.
    for guest in world.lab.virsh("h2", &["list", "--name"])?.split_whitespace() {
        world.lab.guest_exec(guest, "cat /run/beat")?;
    }
    world.lab.link("h2", Network::Management, LinkState::Up)?;
    world.until("h2 online", || Ok(world.json(&["host", "show", "h2"])?["state"] == "online"))
}
