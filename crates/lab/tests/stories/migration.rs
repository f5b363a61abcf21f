//! Moves that an operator asks for.

use std::time::Duration;

use anyhow::ensure;

use super::world::{World, items, text};

pub(crate) fn existing_guests_are_adopted_as_they_are(world: &World) -> anyhow::Result<()> {
    let guests = world.json(&["guest", "list"])?;
    ensure!(items(&guests).len() == usize::from(world.lab.spec().guests), "{guests}");
    for guest in items(&guests) {
        ensure!(guest["state"] == "running", "{guest}");
        ensure!(text(guest, "host") == world.home(text(guest, "name"))?, "{guest}");
    }
    let dump = |host: &str| world.lab.virsh(host, &["dumpxml", "vm1", "--inactive"]);
    ensure!(!dump(&world.home("vm1")?)?.contains("drover"), "the definition was changed");
    Ok(())
}

pub(crate) fn a_moved_guest_keeps_its_connection(world: &World) -> anyhow::Result<()> {
    let from = world.home("vm1")?;
    let to = world.other(&from);
    world.lab.dirty("vm1", 4, 16)?;
    let probe = world.lab.probe("vm1", None)?;
    std::thread::sleep(Duration::from_secs(2));
    world.migrate("vm1", &to)?;
    std::thread::sleep(Duration::from_secs(3));
    let report = probe.finish()?;
    ensure!(world.home("vm1")? == to, "vm1 is not on {to}");
    ensure!(report.is_unbroken(), "the client lost something: {report:?}");
    ensure!(report.tcp_sent > 60, "the probe hardly ran: {report:?}");
    let shown = world.json(&["guest", "show", "vm1"])?;
    ensure!(shown["host"] == to.as_str() && shown["owner_phase"] == "settled", "{shown}");
    ensure!(
        world.lab.virsh(&from, &["dominfo", "vm1"]).is_err(),
        "the definition was left on {from}"
    );
    world.memory_is_whole("vm1")
}

pub(crate) fn cancel_leaves_the_guest_where_it_was(world: &World) -> anyhow::Result<()> {
    let from = world.home("vm2")?;
    let to = world.other(&from);
    let id = world.begin_slow_move("vm2", &to)?;
    world.drover(&["guest", "cancel", "vm2"])?;
    let operation = world.finished(&id)?;
    ensure!(operation["state"] == "cancelled", "{operation}");
    ensure!(world.home("vm2")? == from, "vm2 is not on {from}");
    world.until("a clean target", || Ok(world.lab.virsh(&to, &["dominfo", "vm2"]).is_err()))
}

pub(crate) fn a_refused_move_says_why(world: &World) -> anyhow::Result<()> {
    let from = world.home("vm3")?;
    let refused = world.drover(&["guest", "migrate", "vm3", "--to", &from]);
    let error = format!("{:#}", refused.expect_err("a move to its own host"));
    ensure!(error.contains(&format!("it is on {from} already")), "{error}");
    let missing = world.drover(&["guest", "migrate", "nobody"]);
    let error = format!("{:#}", missing.expect_err("a move of nobody"));
    ensure!(error.contains("there is no guest `nobody`") && error.contains("hint:"), "{error}");
    Ok(())
}
