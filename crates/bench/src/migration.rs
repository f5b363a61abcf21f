//! The same guest moved back and forth, by Drover and by `virsh migrate` in turn: wall
//! time, and the blackout that a client sees.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use drover_lab::{Drover, Lab, LabSpec};

use crate::row::{pair, process, quantile, single};

const GUEST: &str = "vm1";
/// The probe looks this often: its resolution.
const PROBE: Duration = Duration::from_millis(5);

/// What one move took, milliseconds.
struct Took {
    wall: f64,
    ping_gap: f64,
}

pub(crate) fn run(runs: usize) -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join("drover-bench-lab");
    let own = std::env::current_exe()?;
    let beside = own.parent().context("a program has a directory")?.to_owned();
    let lab = lab(dir, beside)?;
    let measured = measure(&lab, runs);
    lab.down()?;
    measured
}

fn lab(dir: PathBuf, bin_dir: PathBuf) -> anyhow::Result<Lab> {
    if dir.join("lab.json").exists() {
        Lab::open(&dir)?.down()?;
    }
    let spec = LabSpec { hosts: 2, guests: 2, ..LabSpec::new("bench", dir, bin_dir) };
    let lab = Lab::up(spec, &|_| {})?;
    Drover::of(&lab).up(&|_| {})?;
    std::thread::sleep(Duration::from_secs(10));
    Ok(lab)
}

fn measure(lab: &Lab, runs: usize) -> anyhow::Result<()> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    let mut handovers = Vec::new();
    for _ in 0..runs {
        let (took, handover) = by_drover(lab)?;
        ours.push(took);
        handovers.push(handover);
        peer.push(by_virsh(lab)?);
    }
    let of = |all: &[Took], pick: fn(&Took) -> f64| -> Vec<f64> { all.iter().map(pick).collect() };
    let note = format!("128 MiB idle guest, {runs} moves each in turn");
    for (name, part) in [("median", 0.5), ("p90", 0.9)] {
        let pick = |all: &[Took], which: fn(&Took) -> f64| quantile(&of(all, which), part);
        pair(
            &format!("migration wall time, {name}"),
            pick(&ours, |took| took.wall),
            pick(&peer, |took| took.wall),
            "ms",
            &note,
        );
        pair(
            &format!("longest ping gap of a move, {name}"),
            pick(&ours, |took| took.ping_gap),
            pick(&peer, |took| took.ping_gap),
            "ms",
            "ping every 5 ms",
        );
    }
    single(
        "handover: source gone to target running, median",
        quantile(&handovers, 0.5),
        "ms",
        "by droverd's clock",
    );
    let pid = lab.pid_of("ctl", "droverd")?;
    let (_, resident, anonymous) = process(&pid.to_string())?;
    let note = format!("2 hosts; {anonymous:.0} MiB of it anonymous");
    single("droverd memory, resident", resident, "MiB", &note);
    overhead(lab)
}

fn target(lab: &Lab) -> anyhow::Result<(String, String)> {
    let home = lab.host_of(GUEST)?.context("the guest runs nowhere")?;
    let to = if home == "h1" { "h2" } else { "h1" };
    Ok((home, to.to_owned()))
}

fn by_drover(lab: &Lab) -> anyhow::Result<(Took, f64)> {
    let (_, to) = target(lab)?;
    let drover = Drover::of(lab);
    let (took, done) = timed(lab, || drover.json(&["guest", "migrate", GUEST, "--to", &to]))?;
    // droverd's own times: the command line polls and would add its interval.
    let at = |state: &str| -> Option<i64> {
        let steps = done["timeline"].as_array()?;
        let step = steps.iter().find(|step| step["state"] == state)?;
        Some(step["at"].as_str()?.parse::<jiff::Timestamp>().ok()?.as_millisecond())
    };
    let (begun, ended) = (at("admitted").context("no start")?, at("completed").context("no end")?);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a move")]
    let wall = (ended - begun) as f64;
    let handover = done["outcome"]["handover_ms"].as_f64().unwrap_or(f64::NAN);
    Ok((Took { wall, ..took }, handover))
}

fn by_virsh(lab: &Lab) -> anyhow::Result<Took> {
    let (from, to) = target(lab)?;
    let address = drover_lab::addresses::host_address(&to).context("a host has an address")?;
    let (peer, uri) = (format!("qemu+tls://{address}/system"), format!("tcp://{address}"));
    let words = [
        "migrate",
        "--live",
        "--p2p",
        "--persistent",
        "--undefinesource",
        "--unsafe",
        GUEST,
        &peer,
        "--migrateuri",
        &uri,
    ];
    let took = timed(lab, || lab.virsh(&from, &words))?.0;
    // droverd sees that another hand moved the guest, and its agent there samples it.
    let begun = Instant::now();
    loop {
        // Between the two hosts' inventories it may be unknown for a moment.
        let shown = Drover::of(lab).json(&["guest", "show", GUEST]).unwrap_or_default();
        if shown["host"] == to.as_str() && shown["owner_phase"] == "settled" {
            break;
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(60), "not noticed: {shown}");
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(Duration::from_secs(4));
    Ok(took)
}

/// Times a move while a client looks at the guest.
fn timed<T>(lab: &Lab, act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Took, T)> {
    let probe = lab.probe_every(GUEST, None, PROBE)?;
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let done = act()?;
    let wall = begun.elapsed().as_secs_f64() * 1000.0;
    std::thread::sleep(Duration::from_secs(2));
    let report = probe.finish()?;
    anyhow::ensure!(report.is_unbroken(), "a client lost something: {report:?}");
    Ok((Took { wall, ping_gap: report.ping_longest_gap_ms }, done))
}

/// From a rule's firing to the start of the transfer, by droverd's events.
fn overhead(lab: &Lab) -> anyhow::Result<()> {
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
