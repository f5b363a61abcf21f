//! What is moved, and how: one case after the other, Drover and virsh in turn.

use std::time::Duration;

use anyhow::Context as _;

use super::bed::Bed;
use super::drover::{self, Move};
use super::took::Took;
use super::{Extent, virsh};
use crate::row::{pair, quantile, single};

/// The guest whose disk both hosts reach.
const SHARED: &str = "vm1";
/// The guest whose disk is copied.
const LOCAL: &str = "vm11";
/// What a writing guest writes to: with the system it fits into the guest's 128 MiB.
const WORKING_SET_MIB: u32 = 48;
/// A writing guest's rate is measured over so long.
const RATE_OVER: Duration = Duration::from_secs(4);
/// Of the local disk's 32 MiB so many are filled with what is no zeros.
const FILL: &str = "dd if=/dev/urandom of=/dev/vda bs=1M seek=4 count=20 conv=fsync 2>/dev/null";
/// Where lab hosts keep local disks.
const IMAGES: &str = "/var/lib/libvirt/images";
/// virsh alone would never end a move that does not converge: after so many seconds it
/// pauses the guest.
const VIRSH_PATIENCE: [&str; 3] = ["--timeout", "120", "--timeout-suspend"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Tls,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Shared,
    Copied,
}

struct Case {
    name: &'static str,
    /// What the guest is told to write, MiB/s.
    writes: u32,
    wire: Wire,
    disk: Disk,
    extent: Extent,
}

const fn case(name: &'static str, writes: u32, wire: Wire, disk: Disk, extent: Extent) -> Case {
    Case { name, writes, wire, disk, extent }
}

/// A case of the short form is one of the whole as well.
const CASES: [Case; 9] = [
    case("idle", 0, Wire::Plain, Disk::Shared, Extent::Short),
    case("idle, TLS", 0, Wire::Tls, Disk::Shared, Extent::Short),
    case("10 MiB/s", 10, Wire::Plain, Disk::Shared, Extent::Whole),
    case("50 MiB/s", 50, Wire::Plain, Disk::Shared, Extent::Short),
    case("200 MiB/s", 200, Wire::Plain, Disk::Shared, Extent::Whole),
    case("10 MiB/s, TLS", 10, Wire::Tls, Disk::Shared, Extent::Whole),
    case("50 MiB/s, TLS", 50, Wire::Tls, Disk::Shared, Extent::Whole),
    case("200 MiB/s, TLS", 200, Wire::Tls, Disk::Shared, Extent::Whole),
    case("local disk", 0, Wire::Plain, Disk::Copied, Extent::Short),
];

impl Case {
    const fn guest(&self) -> &'static str {
        match self.disk {
            Disk::Shared => SHARED,
            Disk::Copied => LOCAL,
        }
    }

    fn for_drover(&self) -> Vec<&'static str> {
        let mut options = match self.wire {
            Wire::Plain => vec!["--no-tls"],
            Wire::Tls => vec!["--tls"],
        };
        if self.disk == Disk::Copied {
            options.extend(["--copy-storage", "full"]);
        }
        options
    }

    fn for_virsh(&self) -> Vec<&'static str> {
        let mut options = VIRSH_PATIENCE.to_vec();
        if self.wire == Wire::Tls {
            options.push("--tls");
        }
        if self.disk == Disk::Copied {
            options.push("--copy-storage-all");
        }
        options
    }
}

/// Prints the rows of all cases; returns Drover's moves.
pub(super) fn measure(bed: &Bed, runs: usize, extent: Extent) -> anyhow::Result<Vec<Move>> {
    bed.start_local(LOCAL)?;
    bed.lab.guest_exec(LOCAL, FILL)?;
    let mut moves = Vec::new();
    for case in CASES.iter().filter(|case| extent == Extent::Whole || case.extent == extent) {
        moves.extend(one(bed, case, runs)?);
    }
    Ok(moves)
}

fn one(bed: &Bed, case: &Case, runs: usize) -> anyhow::Result<Vec<Move>> {
    let guest = case.guest();
    bed.lab.dirty(guest, case.writes, WORKING_SET_MIB)?;
    let mut note = format!("{runs} moves each in turn");
    if case.writes > 0 {
        note = format!("{note}; it really writes {:.0} MiB/s", written(bed, guest)?);
    }
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for number in 1..=runs {
        // A move that fails is told, and costs no other its figures.
        match drover::migrate(bed, guest, &case.for_drover()) {
            Ok(moved) => ours.push(moved),
            Err(error) => eprintln!("{}, move {number} by Drover: {error:#}", case.name),
        }
        let (from, _) = bed.way(guest)?;
        match virsh::migrate(bed, guest, &case.for_virsh()) {
            Ok(took) => peer.push(took),
            Err(error) => eprintln!("{}, move {number} by virsh: {error:#}", case.name),
        }
        if case.disk == Disk::Copied {
            // virsh leaves the source's disk, and Drover refuses to overwrite a file.
            clear(bed, guest, &from)?;
        }
    }
    bed.lab.dirty(guest, 0, WORKING_SET_MIB)?;
    if ours.len() < runs || peer.len() < runs {
        note = format!("{note}; Drover made {}, virsh {}", ours.len(), peer.len());
    }
    rows(case.name, &note, &ours, &peer);
    Ok(ours)
}

/// Removes the disk that a guest had on a host that it left.
fn clear(bed: &Bed, guest: &str, host: &str) -> anyhow::Result<()> {
    if bed.lab.host_of(guest)?.is_some_and(|home| home != host) {
        bed.lab.exec(host, &["rm", "-f", &format!("{IMAGES}/{guest}.img")])?;
    }
    Ok(())
}

/// The rate at which a guest writes by its own clock, MiB/s: emulation may not reach what
/// it was told.
fn written(bed: &Bed, guest: &str) -> anyhow::Result<f64> {
    let look = || -> anyhow::Result<(f64, f64)> {
        let told = bed.lab.guest_exec(guest, "cat /run/stat /proc/uptime")?;
        let words: Vec<&str> = told.split_whitespace().collect();
        let number = |index: usize| words.get(index).and_then(|word| word.parse::<f64>().ok());
        // `pages N passes N wrong N`, then the seconds since the boot.
        number(1).zip(number(6)).with_context(|| format!("{guest} says `{told}`"))
    };
    let (pages, since) = look()?;
    std::thread::sleep(RATE_OVER);
    let (more, until) = look()?;
    Ok((more - pages) / 256.0 / (until - since))
}

fn rows(name: &str, note: &str, ours: &[Move], peer: &[Took]) {
    let of_ours = |pick: fn(&Took) -> f64| -> Vec<f64> {
        ours.iter().map(|moved| pick(&moved.took)).collect()
    };
    let of_peer = |pick: fn(&Took) -> f64| -> Vec<f64> { peer.iter().map(pick).collect() };
    let both = |figure: &str, pick: fn(&Took) -> f64, note: &str| {
        let (ours, peer) = (of_ours(pick), of_peer(pick));
        let worst = format!(
            "median; longest {:.0} and {:.0}{note}",
            quantile(&ours, 1.0),
            quantile(&peer, 1.0)
        );
        let (ours, peer) = (quantile(&ours, 0.5), quantile(&peer, 0.5));
        pair(&format!("{name}: {figure}"), ours, peer, "ms", &worst);
    };
    both("wall time", |took| took.wall, &format!("; {note}"));
    let admitted: Vec<f64> = ours.iter().map(Move::after_admission).collect();
    pair(
        &format!("{name}: wall time from admission"),
        quantile(&admitted, 0.5),
        quantile(&of_peer(|took| took.wall), 0.5),
        "ms",
        "median; without the checks and the forecast, which virsh does not have",
    );
    both("QEMU's downtime", |took| took.downtime, "");
    both("longest ping gap", |took| took.seen.ping_gap, "");
    both("longest gap of a TCP connection", |took| took.seen.tcp_gap, "");
    let blackouts: Vec<f64> = ours.iter().filter_map(|moved| moved.blackout).collect();
    if !blackouts.is_empty() {
        let note = format!("median of {}, as the target measured it", blackouts.len());
        single(&format!("{name}: blackout"), quantile(&blackouts, 0.5), "ms", &note);
    }
    let handovers: Vec<f64> = ours.iter().filter_map(|moved| moved.handover).collect();
    let median = quantile(&handovers, 0.5);
    single(&format!("{name}: handover"), median, "ms", "median; source gone to target running");
    stages(name, ours);
}

/// Where Drover's time goes: one row.
fn stages(name: &str, ours: &[Move]) {
    let Some(first) = ours.first() else { return };
    let median = |stage: &str| {
        let of = |moved: &Move| {
            moved.stages.iter().filter(|(name, _)| name == stage).map(|(_, ms)| ms).sum::<f64>()
        };
        quantile(&ours.iter().map(of).collect::<Vec<f64>>(), 0.5)
    };
    let told: Vec<String> =
        first.stages.iter().map(|(stage, _)| format!("{stage} {:.0}", median(stage))).collect();
    let sum = first.stages.iter().map(|(stage, _)| median(stage)).sum();
    single(&format!("{name}: stages"), sum, "ms", &told.join(", "));
}
