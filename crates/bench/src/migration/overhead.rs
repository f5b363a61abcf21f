//! From a rule's firing to the start of the transfer, by droverd's events.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use drover_lab::Drover;

use super::bed::Bed;
use crate::row::single;

pub(super) fn measure(bed: &Bed) -> anyhow::Result<()> {
    let lab = &bed.lab;
    let drover = Drover::of(lab);
    for guest in ["vm1", "vm2"] {
        if lab.host_of(guest)?.as_deref() != Some("h1") {
            drover.drover(&["guest", "migrate", guest, "--to", "h1"])?;
        }
    }
    drover.drover(&[
        "rule",
        "create",
        "bench",
        "cpu.usage_active > 55",
        "--period",
        "10s",
        "--source-host",
        "h1",
        "--max-moves",
        "1",
    ])?;
    lab.load("vm1", 30)?;
    lab.load("vm2", 30)?;
    let begun = Instant::now();
    let at = |kind: &str| -> anyhow::Result<Option<i64>> {
        let events = drover.json(&["event", "list", "--limit", "1000"])?;
        let of_kind = events.as_array().into_iter().flatten().filter(|e| e["kind"] == kind);
        let last = of_kind
            .max_by_key(|event| event["sequence"].as_u64())
            .and_then(|event| event["at"].as_str());
        Ok(last.and_then(|at| Some(at.parse::<jiff::Timestamp>().ok()?.as_millisecond())))
    };
    while at("plan.closed")?.zip(at("rule.fired")?).is_none_or(|(closed, fired)| closed < fired) {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(60), "the rule moved nothing");
        std::thread::sleep(Duration::from_millis(500));
    }
    let fired = at("rule.fired")?.context("it fired")?;
    let transfer = at("migration.transferring")?.context("it was moved")?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a decision")]
    let overhead = (transfer - fired) as f64;
    single("firing to start of transfer", overhead, "ms", "plan, commit, target's consent");
    Ok(())
}
