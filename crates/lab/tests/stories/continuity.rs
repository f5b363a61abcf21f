//! What the network sees of a move.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use drover_lab::Heard;
use serde_json::Value;

use super::world::{World, text};

const GUEST: &str = "vm1";
const MAC: &str = "52:54:00:88:00:01";
const ADDRESS: &str = "10.88.0.11";

/// The client looks every 20 ms, as the target does.
const LOOK: Duration = Duration::from_millis(20);

/// By so much the target's figure and the client's longest gap may differ, milliseconds. Both
/// look every 20 ms, from different places: the client's echo goes through the guest's TCP,
/// whose segments sent in the pause come again only after its retransmission time (200 ms at
/// least, doubled once), and emulated guests on a busy machine stumble for some 10 ms.
const TOLERANCE_MS: f64 = 500.0;

/// Moves in a row; the client's connection lives through all of them.
const MOVES: usize = 6;

/// The controller knows the guest's address before the move, so that it is announced and
/// measured. A guest that is silent is not known: a client talks to it meanwhile.
fn address_is_known(world: &World) -> anyhow::Result<()> {
    // A client that knows the guest already would never ask who has its address.
    world.lab.exec("ctl", &["ip", "neigh", "flush", "to", ADDRESS])?;
    let _client = world.lab.probe(GUEST, None)?;
    world.until("the guest's address", || {
        let shown = world.json(&["guest", "show", GUEST])?;
        let nics = shown["nics"].as_array().context("no network cards")?;
        Ok(nics.iter().any(|nic| nic["addresses"].to_string().contains(ADDRESS)))
    })
}

pub(crate) fn the_network_hears_of_a_moved_guest(world: &World) -> anyhow::Result<()> {
    address_is_known(world)?;
    let probe = world.lab.probe(GUEST, None)?;
    let from = world.home(GUEST)?;
    let to = world.other(&from);
    let names = world.lab.spec().host_names();
    let third = names.iter().find(|name| **name != from && **name != to).context("no third")?;
    let ear = world.lab.hear(third)?;
    world.migrate(GUEST, &to)?;
    let heard: Vec<Heard> =
        ear.finish()?.into_iter().filter(|frame| frame.from == MAC && frame.broadcast).collect();
    let report = probe.finish()?;
    ensure!(report.is_unbroken(), "something is lost: {report:?}; {}", world.sight(GUEST));
    let claims = |operation: u16| {
        heard.iter().any(|frame| {
            (frame.protocol.as_str(), frame.operation) == ("arp", operation)
                && frame.sender == ADDRESS
        })
    };
    ensure!(heard.iter().any(|frame| frame.protocol == "rarp"), "no RARP: {heard:?}");
    ensure!(claims(1) && claims(2), "the address was not announced: {heard:?}");
    let port = world.lab.switch_sends_to(MAC)?;
    ensure!(port.as_deref() == Some(to.as_str()), "the switch sends to {port:?}, not to {to}");
    Ok(())
}

pub(crate) fn the_network_misses_a_moved_guest_as_measured(world: &World) -> anyhow::Result<()> {
    address_is_known(world)?;
    for number in 1..=MOVES {
        // Windows of both hosts begin anew after a move.
        world.measured(GUEST)?;
        let to = world.other(&world.home(GUEST)?);
        let after = world.now()?;
        let probe = world.lab.probe_every(GUEST, None, LOOK)?;
        std::thread::sleep(Duration::from_secs(1));
        let moved = world.json(&["guest", "migrate", GUEST, "--to", &to])?;
        std::thread::sleep(Duration::from_millis(500));
        let report = probe.finish()?;
        let unbroken = report.is_unbroken();
        ensure!(unbroken, "move {number}: something is lost: {report:?}; {}", world.sight(GUEST));
        let blackout = blackout(&moved)?;
        let seen = report.tcp_longest_gap_ms.min(report.ping_longest_gap_ms);
        eprintln!(
            "    move {number}: blackout {blackout} ms; the client's longest gap: ping {:.0} ms, TCP {:.0} ms; \
             QEMU's downtime {}",
            report.ping_longest_gap_ms, report.tcp_longest_gap_ms, moved["outcome"]["downtime_ms"]
        );
        ensure!((blackout - seen).abs() <= TOLERANCE_MS, "{blackout} ms, the client saw {seen}");
        let told = world.event(after, "migration.blackout")?;
        ensure!(told["guest"] == GUEST, "{told}");
        let port = world.lab.switch_sends_to(MAC)?;
        ensure!(port.as_deref() == Some(to.as_str()), "the switch sends to {port:?}, not to {to}");
    }
    Ok(())
}

fn blackout(operation: &Value) -> anyhow::Result<f64> {
    operation["outcome"]["blackout_ms"]
        .as_f64()
        .with_context(|| format!("no blackout: {}", text(operation, "id")))
}
