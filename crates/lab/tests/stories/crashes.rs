//! The crash table: whatever dies in the middle of a move, at most one copy of the guest
//! runs, the record of its owner is true, and nothing is left behind.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use drover_lab::{GuestDisk, GuestLease};
use serde_json::Value;

use super::crash_support::{Fault, Phase, Scene, Watch, processes};
use super::ground::Ground;
use super::world::{World, text};

/// An operation is over within so long after its fault was mended: libvirt's keepalive takes
/// 30 s of it.
const OVER: Duration = Duration::from_secs(100);

/// A restart and a cancellation are measured so often.
const MEASURED: u32 = 3;
/// An operation must be taken up again within so long after a restart.
const ADOPTED_WITHIN: Duration = Duration::from_secs(5);
/// A cancelled transfer must be over within so long.
const CANCELLED_WITHIN: Duration = Duration::from_secs(5);

/// How a row may end.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The guest runs on the target.
    Arrived,
    /// The guest runs on the source; the operation says this.
    Stayed(&'static str),
    /// The guest runs nowhere; the operation says this.
    Lost(&'static str),
    /// The target has half of the guest, which is left alone and is of no use; the operation
    /// says this.
    Half(&'static str),
}

/// A fault, a phase, and the ends that are right. Where there are two, it depends on who was
/// faster.
type Row = (Fault, Phase, &'static [End]);

use End::{Arrived, Half, Lost, Stayed};
use Fault as F;
use Phase as P;

/// Who notices first says it: libvirt on the target, or QEMU on the source, whose words differ
/// between versions.
const TARGET_QEMU_DIED: &[End] =
    &[Stayed("closed the monitor"), Stayed("TLS channel"), Stayed("Unable to read from socket")];

const SHARED: &[Row] = &[
    (F::Controller, P::FirstPass, &[Arrived]),
    (F::SourceAgent, P::FirstPass, &[Arrived]),
    (F::TargetAgent, P::FirstPass, &[Arrived]),
    (F::SourceLibvirtd, P::FirstPass, &[Stayed("the job is over")]),
    (F::TargetLibvirtd, P::FirstPass, &[Stayed("client socket is closed")]),
    (F::SourceQemu, P::FirstPass, &[Lost("the guest runs nowhere")]),
    (F::TargetQemu, P::FirstPass, TARGET_QEMU_DIED),
    (F::Controller, P::HandingOver, &[Arrived]),
    (F::SourceAgent, P::HandingOver, &[Arrived]),
    (F::TargetAgent, P::HandingOver, &[Arrived]),
    (F::SourceLibvirtd, P::HandingOver, &[Stayed("the job is over")]),
    (F::TargetLibvirtd, P::HandingOver, &[Stayed("client socket is closed")]),
    (F::SourceQemu, P::HandingOver, &[Lost("the guest runs nowhere")]),
    (F::TargetQemu, P::HandingOver, TARGET_QEMU_DIED),
    (F::Controller, P::Resuming, &[Arrived]),
    (F::SourceAgent, P::Resuming, &[Arrived]),
    (F::TargetAgent, P::Resuming, &[Arrived]),
    (F::SourceLibvirtd, P::Resuming, &[Arrived]),
    (F::TargetLibvirtd, P::Resuming, &[Arrived]),
    (F::TargetQemu, P::Resuming, &[Lost("the guest runs nowhere")]),
    (F::Controller, P::PostCopy, &[Arrived]),
    (F::SourceAgent, P::PostCopy, &[Arrived]),
    (F::TargetAgent, P::PostCopy, &[Arrived]),
    (F::SourceQemu, P::PostCopy, &[Half("half of its memory is lost")]),
    (F::TargetQemu, P::PostCopy, &[Lost("the guest runs nowhere")]),
    (F::SourceLibvirtd, P::PostCopy, &[Arrived]),
    (F::TargetLibvirtd, P::PostCopy, &[Arrived]),
];

/// With a second guest, which keeps the first one waiting.
const QUEUED: &[Row] = &[
    (F::Controller, P::Offering, &[Arrived]),
    (F::SourceAgent, P::Offering, &[Arrived]),
    (F::TargetAgent, P::Offering, &[Arrived]),
    (F::TargetLibvirtd, P::Offering, &[Arrived]),
];

/// Rows of every run; the others take a quarter of an hour more and come with
/// `make crashes`.
const ALWAYS: &[(F, P)] = &[
    (F::SourceLibvirtd, P::FirstPass),
    (F::TargetLibvirtd, P::FirstPass),
    (F::SourceQemu, P::FirstPass),
    (F::TargetQemu, P::FirstPass),
    (F::Controller, P::HandingOver),
    (F::TargetAgent, P::Resuming),
    (F::SourceAgent, P::PostCopy),
    (F::TargetAgent, P::Offering),
    (F::TargetHost, P::FirstPass),
    (F::SourceHost, P::Owing),
    (F::StorageCut, P::FirstPass),
];

/// Which rows are proven: `all`, or those with this in their name, e.g. `SourceQemu in PostCopy`.
pub(crate) const ROWS: &str = "DROVER_LAB_ROWS";

const HOSTS: &[Row] = &[
    (F::SourceHost, P::FirstPass, &[Lost("the guest runs nowhere")]),
    (F::TargetHost, P::FirstPass, &[Stayed("client socket is closed")]),
    (F::SourceHost, P::HandingOver, &[Lost("the guest runs nowhere")]),
    (F::TargetHost, P::HandingOver, &[Stayed("client socket is closed")]),
    (F::TargetHost, P::Resuming, &[Lost("the guest runs nowhere")]),
    // The cable may be back before libvirt gives the connection up.
    (F::ManagementCut, P::FirstPass, &[Stayed("client socket is closed"), Arrived]),
    (F::ManagementCut, P::HandingOver, &[Stayed("client socket is closed"), Arrived]),
    (F::ManagementCut, P::Resuming, &[Arrived]),
];

const LOCAL: &[Row] = &[
    (F::SourceAgent, P::Owing, &[Arrived]),
    (F::SourceHost, P::Owing, &[Arrived]),
    (F::TargetAgent, P::FirstPass, &[Arrived]),
    (F::TargetLibvirtd, P::FirstPass, &[Stayed("client socket is closed")]),
];

const ISCSI: &[Row] = &[
    (F::StorageCut, P::FirstPass, &[Arrived]),
    (F::StorageCut, P::HandingOver, &[Arrived]),
    (F::StorageCut, P::Resuming, &[Arrived]),
];

/// How soon a controller that was killed hears of the transfer again, and how soon a cancelled
/// one is over. The guest stays where it is.
pub(crate) fn a_restart_and_a_cancel_take_moments(ground: &Ground) -> anyhow::Result<()> {
    ground.beside("lcrash", 2, |world| {
        let guest = "vm45";
        world.lab.start_guest_with(guest, "h1", GuestDisk::Shared, GuestLease::None)?;
        world.lab.wait_for_guest(guest)?;
        restarts_and_cancels(world, guest)
    })
}

fn restarts_and_cancels(world: &World, guest: &str) -> anyhow::Result<()> {
    for _ in 0..MEASURED {
        world.measured(guest)?;
        let from = world.home(guest)?;
        let id = world.begin_slow_move(guest, &world.other(&from))?;
        let elapsed = || -> anyhow::Result<u64> {
            let shown = world.json(&["operation", "show", &id])?;
            Ok(shown["progress"]["elapsed_ms"].as_u64().unwrap_or(0))
        };
        let before = elapsed()?;
        world.lab.kill_daemon("ctl", "droverd")?;
        let killed = Instant::now();
        world.until("newer progress", || Ok(elapsed()? > before))?;
        let adopted = killed.elapsed();
        let asked = Instant::now();
        world.drover(&["operation", "cancel", &id])?;
        let ended = world.finished(&id)?;
        let cancelled = asked.elapsed();
        ensure!(ended["state"] == "cancelled", "{ended}");
        ensure!(world.home(guest)? == from, "it is not on {from}");
        eprintln!("    taken up after {adopted:.1?}, cancelled within {cancelled:.1?}");
        ensure!(adopted < ADOPTED_WITHIN, "taken up only after {adopted:?}");
        ensure!(cancelled < CANCELLED_WITHIN, "cancelled only after {cancelled:?}");
    }
    Ok(())
}

pub(crate) fn programs_that_die(ground: &Ground) -> anyhow::Result<()> {
    on_own_lab(ground, "vm40", GuestDisk::Shared, &[SHARED, QUEUED].concat())
}

pub(crate) fn hosts_and_cables_that_die(ground: &Ground) -> anyhow::Result<()> {
    on_own_lab(ground, "vm41", GuestDisk::Shared, HOSTS)
}

pub(crate) fn faults_while_a_disk_is_copied(ground: &Ground) -> anyhow::Result<()> {
    on_own_lab(ground, "vm42", GuestDisk::Local, LOCAL)
}

pub(crate) fn a_storage_network_that_is_cut(ground: &Ground) -> anyhow::Result<()> {
    on_own_lab(ground, "vm43", GuestDisk::Iscsi, ISCSI)
}

/// Proves rows with one guest on a lab of its own, whose hosts hold no other's guests.
fn on_own_lab(
    ground: &Ground,
    guest: &'static str,
    disk: GuestDisk,
    rows: &[Row],
) -> anyhow::Result<()> {
    ground.beside("lcrash", 2, |world| {
        world.lab.start_guest_with(guest, "h1", disk, GuestLease::None)?;
        world.lab.wait_for_guest(guest)?;
        let mut wrong = Vec::new();
        let named = std::env::var(ROWS).ok();
        let chosen = |row: &&Row| match named.as_deref() {
            None => ALWAYS.contains(&(row.0, row.1)),
            Some("all") => true,
            Some(part) => format!("{:?} in {:?}", row.0, row.1).contains(part),
        };
        for row in rows.iter().filter(chosen) {
            let begun = Instant::now();
            let told = prove(world, guest, disk, row);
            let (fault, phase, _) = row;
            let took = begun.elapsed().as_secs_f64();
            match told {
                Ok(said) => eprintln!("    {fault:?} in {phase:?}: {said} ({took:.1} s)"),
                Err(error) => {
                    eprintln!("error: {fault:?} in {phase:?}: WRONG {error:#} ({took:.1} s)");
                    wrong.push(format!("{fault:?} in {phase:?}: {error:#}"));
                    renew(world, guest, disk)?;
                }
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}

/// After a row that went wrong the next one gets a guest as new.
fn renew(world: &World, guest: &str, disk: GuestDisk) -> anyhow::Result<()> {
    let hosts = world.lab.spec().host_names();
    for host in &hosts {
        let _ = world.lab.power_on(host);
        let _ = drover_lab::Drover::of(&world.lab).join(host);
        let _ = world.drover(&["guest", "cancel", guest]);
        let _ = world.lab.virsh(host, &["destroy", guest]);
        let _ = world.lab.virsh(host, &["undefine", guest]);
    }
    world.tidy()?;
    world.lab.start_guest_with(guest, "h1", disk, GuestLease::None)?;
    world.lab.wait_for_guest(guest)
}

/// Proves one row and says how it ended.
fn prove(
    world: &World,
    guest: &'static str,
    disk: GuestDisk,
    (fault, phase, ends): &Row,
) -> anyhow::Result<String> {
    world.measured(guest)?;
    let from = world.home(guest)?;
    let to = world.other(&from);
    let scene = Scene { world, guest, disk, from, to };
    let watch = Watch::begin(&world.lab, guest);
    let ended = endure(&scene, *fault, *phase);
    let watched = watch.end()?;
    ensure!(watched.doubles.is_empty(), "it ran twice: {:?}", watched.doubles);
    ensure!(watched.looks > 0, "nobody looked");
    let ended = ended?;
    let said = format!("{} {}", text(&ended, "state"), text(&ended, "failure"));
    let home = judge(&scene, &ended, ends).with_context(|| said.clone())?;
    owned(&scene, &home).with_context(|| said.clone())?;
    scene.nothing_left(&home).with_context(|| said.clone())?;
    if processes(&world.lab, &home, guest).is_empty() {
        world.lab.virsh(&home, &["start", guest])?;
    }
    world.lab.wait_for_guest(guest)?;
    Ok(said)
}

/// The move, its fault, and what is done about it. Returns the operation as it ended.
fn endure(scene: &Scene<'_>, fault: Fault, phase: Phase) -> anyhow::Result<Value> {
    let (id, held) = scene.reach(phase)?;
    scene.strike(fault).context("the fault")?;
    drop(held);
    scene.mend(fault)?;
    // A transfer that goes on need not be slow any more.
    let _ = scene.lift(&id);
    scene.world.finished_within(&id, OVER)
}

/// Whether it ended as it may. Returns the guest's home.
fn judge(scene: &Scene<'_>, ended: &Value, ends: &[End]) -> anyhow::Result<String> {
    let on = |host: &str| processes(&scene.world.lab, host, scene.guest).len();
    let (state, failure) = (text(ended, "state"), text(ended, "failure"));
    for end in ends {
        match *end {
            Arrived if state == "completed" => {
                ensure!(scene.world.home(scene.guest)? == scene.to, "it is not on the target");
                return Ok(scene.to.clone());
            }
            Stayed(part) if state == "failed" && failure.contains(part) => {
                ensure!(scene.world.home(scene.guest)? == scene.from, "it is not on the source");
                return Ok(scene.from.clone());
            }
            Lost(part) if state == "failed" && failure.contains(part) => {
                ensure!(on(&scene.from) + on(&scene.to) == 0, "its processes live");
                let shown = scene.world.json(&["guest", "show", scene.guest])?;
                return Ok(text(&shown, "host").to_owned());
            }
            Half(part) if state == "failed" && failure.contains(part) => {
                // The cure of docs/guide/failures.md.
                let shown = scene.world.json(&["guest", "show", scene.guest])?;
                let home = text(&shown, "host").to_owned();
                ensure!(on(&scene.from) + on(&scene.to) == on(&home), "a half is elsewhere");
                scene.world.lab.virsh(&home, &["destroy", scene.guest])?;
                // libvirt 9.0 keeps the job of a post-copy whose source's QEMU died.
                scene.world.lab.kill_daemon(&scene.from, "libvirtd")?;
                return Ok(home);
            }
            Arrived | Stayed(_) | Lost(_) | Half(_) => {}
        }
    }
    bail!("it may end as {ends:?}")
}

/// The record of its owner says what is true.
fn owned(scene: &Scene<'_>, home: &str) -> anyhow::Result<()> {
    scene.world.until("a settled owner", || {
        let shown = scene.world.json(&["guest", "show", scene.guest])?;
        ensure!(shown["host"] == home, "it is on {home}: {shown}");
        Ok(shown["owner_phase"] == "settled")
    })
}
