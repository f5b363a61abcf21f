//! Hosts that are emptied, and several guests at once.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::world::{World, crowded, guests_on, items, text};

/// Says what a command printed, for whoever reads the run.
fn said(words: &[&str], printed: &str) {
    eprintln!("$ drover {}\n{printed}", words.join(" "));
}

pub(crate) fn a_host_is_drained_and_used_again(world: &World) -> anyhow::Result<()> {
    let (host, guests) = crowded(world)?;
    let dry = world.json(&["host", "drain", &host, "--dry-run"])?;
    ensure!(dry["certificate"]["feasible"] == true, "{dry}");
    ensure!(dry["certificate"]["moves"] == guests.len(), "{dry}");
    ensure!(guests_on(world, &host)? == guests, "a dry run moves nothing");
    let words = ["host", "drain", &host];
    let printed = world.drover(&words)?;
    said(&words, &printed);
    ensure!(guests_on(world, &host)?.is_empty(), "{:?} are left", guests_on(world, &host)?);
    for guest in &guests {
        ensure!(world.home(guest)? != host);
        ensure!(world.lab.guest_exec(guest, "echo yes")?.contains("yes"), "{guest} answers");
    }
    let shown = world.json(&["host", "show", &host])?;
    ensure!(shown["maintenance"] == "drained" && shown["drain"]["moved"] == guests.len());
    let first = guests.first().context("there were some")?;
    let back = world.drover(&["guest", "migrate", first, "--to", &host]);
    let why = back.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(why.contains("is being emptied"), "nothing is placed there: {why}");
    let listed = world.drover(&["host", "list"])?;
    said(&["host", "list"], &listed);
    world.drover(&["host", "undrain", &host])?;
    ensure!(world.json(&["host", "show", &host])?["maintenance"] == "active");
    world.migrate(first, &host)?;
    ensure!(world.home(first)? == host, "it is used again");
    Ok(())
}

/// The ports that QEMU sends guests to.
const MIGRATION_PORTS: &str = "49152:49215";

/// Nobody asks for the moves of a drain by name: they are checked all the same.
pub(crate) fn a_drain_goes_around_a_host_with_closed_ports(world: &World) -> anyhow::Result<()> {
    let (host, guests) = crowded(world)?;
    let dry = world.json(&["host", "drain", &host, "--dry-run"])?;
    let closed = text(&dry["certificate"]["batches"][0][0], "to").to_owned();
    let rule = |change: &'static str| {
        let to = ["-p", "tcp", "--syn", "--dport", MIGRATION_PORTS];
        let words = [&["iptables", change, "INPUT"][..], &to, &["-j", "REJECT"]].concat();
        world.lab.exec(&closed, &words)
    };
    rule("-I")?;
    let certificate = world.json(&["host", "drain", &host, "--dry-run"]);
    let words = ["host", "drain", &host];
    let drained = world.drover(&words);
    let found = world.json(&["operation", "list"]);
    rule("-D")?;
    let certificate = &certificate?["certificate"];
    ensure!(certificate["feasible"] == true && certificate["unasked"] == 0, "{certificate}");
    let mut steps = items(&certificate["batches"]).iter().flat_map(items);
    ensure!(steps.all(|step| text(step, "to") != closed), "{certificate}");
    said(&words, &drained?);
    ensure!(guests_on(world, &host)?.is_empty(), "{:?} are left", guests_on(world, &host)?);
    ensure!(guests.iter().all(|guest| world.home(guest).is_ok_and(|home| home != closed)));
    let cause = format!("drain of {host}");
    let all = found?;
    let ours = |one: &&Value| text(one, "cause") == cause && text(one, "to") == closed;
    let tried = items(&all).iter().find(ours);
    ensure!(tried.is_none(), "nobody was to go there: {tried:?}");
    world.drover(&["host", "undrain", &host])?;
    Ok(())
}

pub(crate) fn several_guests_move_by_one_command(world: &World) -> anyhow::Result<()> {
    let (host, guests) = crowded(world).or_else(|_| {
        // Drained before: gather two.
        let names = world.lab.spec().host_names();
        let host = names.first().cloned().context("a host")?;
        for guest in world.lab.spec().guest_names().iter().take(2) {
            if world.home(guest)? != host {
                world.migrate(guest, &host)?;
            }
        }
        Ok::<_, anyhow::Error>((host.clone(), guests_on(world, &host)?))
    })?;
    let to = world.other(&host);
    let mut words = vec!["guest", "migrate"];
    words.extend(guests.iter().map(String::as_str));
    words.extend(["--to", &to]);
    // The story before has moved some of them.
    for guest in &guests {
        world.measured(guest)?;
    }
    let printed = world.drover(&words)?;
    said(&words, &printed);
    for guest in &guests {
        ensure!(world.home(guest)? == to, "{guest} is not on {to}");
    }
    let all = world.json(&["operation", "list"])?;
    let of_plan = items(&all).iter().filter(|one| guests.contains(&text(one, "guest").to_owned()));
    ensure!(of_plan.count() >= guests.len());
    Ok(())
}
