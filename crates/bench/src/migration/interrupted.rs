//! Moves that are cut short: cancelled, or without their controller for a while.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::bed::Bed;
use super::virsh;
use crate::row::{pair, quantile, single};

const GUEST: &str = "vm1";
/// The 90 MiB or so of a guest take longer at this rate than what is done meanwhile.
const SLOW: &str = "4MiB/s";
const SLOW_MIB_S: &str = "4";
/// How often the state is read: the resolution, beside the start of a command.
const LOOK: Duration = Duration::from_millis(20);
/// From a move's begin to its end by another hand, so that it transfers.
const UNDER_WAY: Duration = Duration::from_secs(3);
/// What is waited for comes within so long.
const SOON: Duration = Duration::from_secs(60);

/// Rows: the time from a request to cancel to its effect, and from the controller's death
/// to its hold on the move.
pub(super) fn measure(bed: &Bed, runs: usize) -> anyhow::Result<()> {
    let (mut cancels, mut aborts, mut adoptions) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        cancels.push(cancel(bed)?);
        aborts.push(abort(bed)?);
        adoptions.push(readopt(bed)?);
    }
    let longest = |all: &[f64]| quantile(all, 1.0);
    let note = format!(
        "median of {runs}; longest {:.0} and {:.0}; request to `cancelled` and the guest running \
         at the source; peer: `virsh domjobabort` to the end of `virsh migrate`",
        longest(&cancels),
        longest(&aborts)
    );
    pair("cancel", quantile(&cancels, 0.5), quantile(&aborts, 0.5), "ms", &note);
    let note = format!(
        "median of {runs}; longest {:.0}; kill -9 of droverd in mid-transfer to newer progress, \
         0.5 s of it until it is started again (goal: 5 s)",
        longest(&adoptions)
    );
    single("re-adoption", quantile(&adoptions, 0.5), "ms", &note);
    Ok(())
}

/// Begins a slow move and waits for its progress.
fn begin(bed: &Bed) -> anyhow::Result<(String, String)> {
    let (from, to) = bed.way(GUEST)?;
    bed.settled(GUEST, &from)?;
    let words = ["guest", "migrate", GUEST, "--to", &to, "--max-bandwidth", SLOW, "--no-wait"];
    let begun = bed.json(&words)?;
    let id = begun["id"].as_str().context("an operation without an id")?.to_owned();
    bed.until("the transfer", || {
        let shown = show(bed, &id)?;
        Ok(shown["state"] == "transferring" && shown["progress"].is_object())
    })?;
    Ok((id, from))
}

fn show(bed: &Bed, id: &str) -> anyhow::Result<Value> {
    bed.json(&["operation", "show", id])
}

fn cancel(bed: &Bed) -> anyhow::Result<f64> {
    let (id, from) = begin(bed)?;
    let asked = Instant::now();
    bed.json(&["operation", "cancel", &id])?;
    let took = until(asked, || {
        let ended = show(bed, &id)?["state"] == "cancelled";
        Ok(ended && bed.lab.virsh(&from, &["domstate", GUEST])?.trim() == "running")
    })?;
    Ok(took)
}

fn abort(bed: &Bed) -> anyhow::Result<f64> {
    let (from, _) = bed.way(GUEST)?;
    let mut moving = virsh::begin(bed, GUEST, &["--bandwidth", SLOW_MIB_S])?;
    std::thread::sleep(UNDER_WAY);
    let asked = Instant::now();
    bed.lab.virsh(&from, &["domjobabort", GUEST])?;
    let status = moving.wait()?;
    let took = asked.elapsed().as_secs_f64() * 1000.0;
    anyhow::ensure!(!status.success(), "the peer's move ended before it was aborted");
    Ok(took)
}

fn readopt(bed: &Bed) -> anyhow::Result<f64> {
    let (id, _) = begin(bed)?;
    let elapsed = |shown: &Value| shown["progress"]["elapsed_ms"].as_f64();
    let before = elapsed(&show(bed, &id)?).context("no progress")?;
    let looked = Instant::now();
    bed.lab.kill_daemon("ctl", "droverd")?;
    let killed = Instant::now();
    // By the transfer's own clock: older progress could only have been kept.
    let newer = before + (killed - looked).as_secs_f64() * 1000.0;
    let took = until(killed, || {
        // droverd does not answer for a while, and the command line is patient meanwhile.
        let shown = show(bed, &id).unwrap_or_default();
        anyhow::ensure!(shown["finished"] != true, "the move ended too early: {shown}");
        Ok(elapsed(&shown).is_some_and(|now| now > newer))
    })?;
    bed.json(&["operation", "cancel", &id])?;
    bed.until("the end of the move", || Ok(show(bed, &id)?["finished"] == true))?;
    Ok(took)
}

fn until(since: Instant, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<f64> {
    while !holds()? {
        anyhow::ensure!(since.elapsed() < SOON, "not within {SOON:?}");
        std::thread::sleep(LOOK);
    }
    Ok(since.elapsed().as_secs_f64() * 1000.0)
}
