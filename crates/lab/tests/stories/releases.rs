//! Moves between hosts of different Debian releases, and so of different libvirt and QEMU.

use anyhow::{Context as _, ensure};
use drover_lab::{GuestDisk, GuestLease, LabSpec, Releases};
use serde_json::Value;

use super::ground::Ground;
use super::world::{World, items, text};

const GUEST: &str = "vm46";
/// With a machine type that only the newer release has.
const NEWER: &str = "vm47";
const NEWER_MACHINE: &str = "pc-q35-10.0";

pub(crate) fn guests_move_between_releases_both_ways(ground: &Ground) -> anyhow::Result<()> {
    let mixed = |spec| LabSpec { hosts: 2, releases: Releases::Mixed, ..spec };
    ground.beside_with("lmix", mixed, |world| {
        versions_differ(world)?;
        moves_both_ways(world)?;
        a_newer_machine_type_stays(world)
    })
}

fn versions_differ(world: &World) -> anyhow::Result<()> {
    for (host, qemu) in [("h1", "10."), ("h2", "7.2.")] {
        let shown = world.json(&["host", "show", host])?;
        ensure!(text(&shown, "qemu_version").starts_with(qemu), "{shown}");
    }
    Ok(())
}

fn moves_both_ways(world: &World) -> anyhow::Result<()> {
    world.lab.start_guest_with(GUEST, "h1", GuestDisk::Shared, GuestLease::None)?;
    world.lab.wait_for_guest(GUEST)?;
    world.measured(GUEST)?;
    let found = findings(world, GUEST, "h2")?;
    ensure!(
        found.iter().any(|one| one["check"] == "qemu-version" && one["blocks"] == false),
        "nothing is said of the older QEMU on h2: {found:?}"
    );
    let probe = world.lab.probe(GUEST, None)?;
    for to in ["h2", "h1", "h2", "h1"] {
        world.measured(GUEST)?;
        // What the last move left on its source is removed a moment later.
        world.until(&format!("{to} without the guest"), || {
            Ok(!world.lab.virsh(to, &["list", "--all", "--name"])?.contains(GUEST))
        })?;
        let mut moved = Value::Null;
        world.until(&format!("a move to {to} that begins"), || {
            moved = world.json(&["guest", "migrate", GUEST, "--to", to])?;
            Ok(true)
        })?;
        ensure!(moved["state"] == "completed", "to {to}: {moved}");
        ensure!(world.home(GUEST)? == to, "it does not run on {to}");
    }
    let report = probe.finish()?;
    ensure!(report.is_unbroken(), "the client lost something: {report:?}");
    Ok(())
}

fn a_newer_machine_type_stays(world: &World) -> anyhow::Result<()> {
    world.lab.define_guest_with(NEWER, "h1", GuestDisk::Shared, GuestLease::None)?;
    let line = format!(
        "virsh dumpxml {NEWER} | sed s/pc-q35-7.2/{NEWER_MACHINE}/ > /tmp/{NEWER}.xml \
         && virsh define /tmp/{NEWER}.xml && virsh start {NEWER}"
    );
    world.lab.exec("h1", &["sh", "-c", &line])?;
    world.lab.wait_for_guest(NEWER)?;
    world.measured(NEWER)?;
    let checked = world.drover(&["guest", "check", NEWER, "--to", "h2"]);
    let error = format!("{:#}", checked.err().context("the check lets it go")?);
    ensure!(error.contains("machine-type"), "{error}");
    let refused = world.drover(&["guest", "migrate", NEWER, "--to", "h2"]);
    let error = format!("{:#}", refused.err().context("h2 has no such machine type")?);
    ensure!(error.contains(NEWER_MACHINE) && error.contains("hint:"), "{error}");
    ensure!(world.home(NEWER)? == "h1", "it does not run on h1");
    Ok(())
}

/// What speaks against a move, or is to be known of it.
fn findings(world: &World, guest: &str, to: &str) -> anyhow::Result<Vec<Value>> {
    let checked = world.json(&["guest", "check", guest, "--to", to])?;
    let target = items(&checked["targets"]).iter().find(|one| one["host"] == to);
    Ok(items(&target.with_context(|| format!("{to} was not checked: {checked}"))?["findings"])
        .to_vec())
}
