//! Options of a live migration, as QEMU sees them, and what changes while it runs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::world::{World, items, text};

/// What QEMU on the source says while a move is under way.
fn monitor(world: &World, host: &str, guest: &str, line: &str) -> anyhow::Result<String> {
    world.lab.virsh(host, &["qemu-monitor-command", guest, "--hmp", line])
}

pub(crate) fn options_reach_qemu(world: &World) -> anyhow::Result<()> {
    for (options, question, answer) in [
        (&["--parallel", "2"][..], "info migrate_capabilities", "multifd: on"),
        (&["--compress", "xbzrle"], "info migrate_capabilities", "xbzrle: on"),
        (&["--auto-converge"], "info migrate_capabilities", "auto-converge: on"),
        (&["--tls"], "info migrate_parameters", "tls-creds: 'objlibvirt_migrate_tls0'"),
        (&["--no-tls"], "info migrate_parameters", "tls-creds: ''"),
        // Both hosts of the lab have certificates, so it is encrypted unasked.
        (&[], "info migrate_parameters", "tls-creds: 'objlibvirt_migrate_tls0'"),
        (&["--max-downtime", "200ms"], "info migrate_parameters", "downtime-limit: 200"),
        // More is used only where the move does not end otherwise.
        (&["--max-downtime", "700ms"], "info migrate_parameters", "downtime-limit: 300"),
    ] {
        let from = world.home("vm1")?;
        let id = world.begin_slow_move_with("vm1", &world.other(&from), options)?;
        // libvirt sets the job up for a moment before it sends.
        world.until(&format!("with {options:?} `{question}` says {answer}"), || {
            Ok(monitor(world, &from, "vm1", question)?.contains(answer))
        })?;
        let begun = Instant::now();
        world.drover(&["operation", "cancel", &id])?;
        let ended = world.finished(&id)?;
        ensure!(ended["state"] == "cancelled", "{ended}");
        ensure!(begun.elapsed() < Duration::from_secs(10), "cancel took {:?}", begun.elapsed());
        ensure!(world.home("vm1")? == from, "vm1 is not on {from}");
    }
    Ok(())
}

pub(crate) fn contradictions_are_refused(world: &World) -> anyhow::Result<()> {
    for (options, part) in [
        (&["--compress", "zstd"][..], "several connections"),
        (&["--post-copy", "now", "--parallel", "2"], "10.1"),
        (&["--auto-start"], "runs anyhow"),
        (&["--mode", "rescue", "--auto-converge"], "sends no memory"),
    ] {
        let words: Vec<&str> =
            ["guest", "migrate", "vm1"].into_iter().chain(options.iter().copied()).collect();
        let refused = world.drover(&words);
        let error = format!("{:#}", refused.expect_err("a contradiction"));
        ensure!(error.contains(part) && error.contains("hint:"), "{options:?}: {error}");
    }
    Ok(())
}

pub(crate) fn settings_change_in_mid_transfer(world: &World) -> anyhow::Result<()> {
    let from = world.home("vm2")?;
    let to = world.other(&from);
    let id = world.begin_move("vm2", &to, "2MiB/s")?;
    world.drover(&["operation", "set", &id, "--max-downtime", "900ms"])?;
    world.until("QEMU hears of the downtime", || {
        Ok(monitor(world, &from, "vm2", "info migrate_parameters")?.contains("downtime-limit: 900"))
    })?;
    world.drover(&["operation", "set", &id, "--no-bandwidth-cap"])?;
    let begun = Instant::now();
    let ended = world.finished(&id)?;
    ensure!(ended["state"] == "completed", "{ended}");
    // At the cap it would have taken three quarters of a minute.
    ensure!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    let late = world.drover(&["operation", "set", &id, "--max-downtime", "1s"]);
    let error = format!("{:#}", late.expect_err("it is over"));
    ensure!(error.contains("cannot be changed any more"), "{error}");
    Ok(())
}

pub(crate) fn post_copy_ends_what_does_not_converge(world: &World) -> anyhow::Result<()> {
    let from = world.home("vm3")?;
    let to = world.other(&from);
    world.lab.dirty("vm3", 40, 48)?;
    let probe = world.lab.probe("vm3", None)?;
    let id = world.begin_move("vm3", &to, "16MiB/s")?;
    world.drover(&["operation", "set", &id, "--post-copy-now"])?;
    let ended = world.finished(&id)?;
    ensure!(ended["state"] == "completed", "{ended}");
    ensure!(went_through(&ended, "post-copy"), "{ended}");
    std::thread::sleep(Duration::from_secs(3));
    let report = probe.finish()?;
    ensure!(report.is_unbroken(), "the client lost something: {report:?}");
    arrived_whole(world, "vm3", &from, &to)
}

pub(crate) fn post_copy_can_be_asked_for_at_once(world: &World) -> anyhow::Result<()> {
    let from = world.home("vm4")?;
    let to = world.other(&from);
    world.lab.dirty("vm4", 20, 32)?;
    world.measured("vm4")?;
    let words = ["guest", "migrate", "vm4", "--to", &to, "--post-copy", "now"];
    let ended = world.json(&words)?;
    ensure!(ended["state"] == "completed" && went_through(&ended, "post-copy"), "{ended}");
    arrived_whole(world, "vm4", &from, &to)
}

/// How much of the guest's memory is on the target when the line is cut, percent. The less there
/// is, the likelier QEMU hangs.
const THERE_AT_THE_CUT: f64 = 70.0;

/// QEMU's stream to the target; libvirt takes its ports from this range.
const RESET: &str = "ss --kill state established '( dport >= :49152 and dport <= :49215 )'";

/// The line is cut while the guest runs on the target and its memory is on both hosts. QEMU's
/// stream outlives that: when the line is back the rest follows.
pub(crate) fn a_post_copy_that_breaks_goes_on(world: &World) -> anyhow::Result<()> {
    use drover_lab::{LinkState, Network};
    let moving = half_there(world)?;
    world.lab.link(&moving.from, Network::Management, LinkState::Down)?;
    let broken = broken(world, &moving);
    world.lab.link(&moving.from, Network::Management, LinkState::Up)?;
    broken?;
    match ended(world, &moving)? {
        Ended::Whole => Ok(()),
        Ended::Stands(why) => bail!("the line is back: {why}"),
    }
}

/// QEMU's stream itself breaks. It is made anew; where libvirt on the target would crash of that
/// it is not asked, and Drover says so. Or QEMU there hangs on memory that has not come: then
/// Drover says that. What it says to do helps.
pub(crate) fn a_post_copy_whose_stream_breaks_goes_on_or_says_why(
    world: &World,
) -> anyhow::Result<()> {
    let moving = half_there(world)?;
    world.lab.exec(&moving.from, &["sh", "-c", RESET])?;
    broken(world, &moving)?;
    let Ended::Stands(why) = ended(world, &moving)? else {
        return Ok(());
    };
    eprintln!("    {why}");
    if why.contains("QEMU on the target waits") {
        let monitor = world.lab.virsh(&moving.to, &["domcontrol", "vm5"])?;
        ensure!(monitor.contains("job"), "libvirt there does not wait for it: {monitor}");
    } else {
        let version = world.lab.virsh(&moving.to, &["version", "--daemon"])?;
        ensure!(version.contains("daemon: 11.3"), "{why}\n{version}");
    }
    the_told_cure_helps(world, &moving)
}

/// A guest that runs on the target while its memory is on both hosts.
struct HalfThere {
    id: String,
    from: String,
    to: String,
    /// The target's libvirtd.
    libvirtd: String,
    /// Events after this one.
    after: u64,
}

fn half_there(world: &World) -> anyhow::Result<HalfThere> {
    let from = world.home("vm5")?;
    let to = world.other(&from);
    let after = world.now()?;
    // So that there is something to look at in the end.
    world.lab.dirty("vm5", 1, 16)?;
    let id = world.begin_move_with("vm5", &to, "4MiB/s", &["--post-copy", "now"])?;
    // Before the target runs it has nothing that could be gone on with.
    world.until("the switch, and most of its memory", || {
        let shown = world.json(&["operation", "show", &id])?;
        let runs = world.lab.virsh(&to, &["domstate", "vm5"])?.contains("running");
        Ok(runs && shown["progress"]["percent"].as_f64() >= Some(THERE_AT_THE_CUT))
    })?;
    let libvirtd = world.lab.daemon(&to, "libvirtd")?;
    Ok(HalfThere { id, from, to, libvirtd, after })
}

fn broken(world: &World, moving: &HalfThere) -> anyhow::Result<()> {
    world.until("the break", || {
        let states = world.lab.virsh(&moving.from, &["domstate", "vm5", "--reason"])?;
        Ok(states.contains("post-copy failed"))
    })
}

/// What became of a broken transfer.
enum Ended {
    Whole,
    /// Drover says why it cannot be gone on with.
    Stands(String),
}

/// libvirtd on the target, of whatever version, lives through it.
fn ended(world: &World, moving: &HalfThere) -> anyhow::Result<Ended> {
    let HalfThere { id, from, to, libvirtd, after } = moving;
    // One that heals before the source's agent is in session again broke for nobody.
    world.until("the break to be told, or the end", || {
        let told = !world.events(*after, "migration.post_copy_broke")?.is_empty();
        Ok(told || world.json(&["operation", "show", id])?["finished"] == true)
    })?;
    let stands = |shown: &Value| text(shown, "failure").contains("cannot be gone on with");
    world
        .within(Duration::from_secs(150), "the end, or why there is none", || {
            let shown = world.json(&["operation", "show", id])?;
            Ok(shown["finished"] == true || stands(&shown))
        })
        .with_context(|| standstill(world, "vm5", id, from, to))?;
    ensure!(world.lab.daemon(to, "libvirtd")? == *libvirtd, "libvirtd on {to} has ended");
    let shown = world.json(&["operation", "show", id])?;
    if stands(&shown) {
        return Ok(Ended::Stands(text(&shown, "failure").to_owned()));
    }
    ensure!(shown["state"] == "completed", "{shown}");
    arrived_whole(world, "vm5", from, to)?;
    Ok(Ended::Whole)
}

/// What each side says of a transfer that neither goes on nor is given up.
fn standstill(world: &World, guest: &str, id: &str, from: &str, to: &str) -> String {
    let of = |host: &str, words: &[&str]| match world.lab.virsh(host, words) {
        Ok(said) => said.split_whitespace().collect::<Vec<_>>().join(" "),
        Err(error) => format!("{error:#}"),
    };
    let operation = world.drover(&["operation", "show", id]).unwrap_or_default();
    let sides = [from, to].map(|host| {
        format!(
            "{host}: {}; {}; {}",
            of(host, &["domstate", guest, "--reason"]),
            of(host, &["domcontrol", guest]),
            of(host, &["domjobinfo", guest])
        )
    });
    format!("{}\n{operation}", sides.join("\n"))
}

fn the_told_cure_helps(world: &World, moving: &HalfThere) -> anyhow::Result<()> {
    // libvirt may say that it is gone already: another of its threads saw it go.
    let destroyed = world.lab.virsh(&moving.to, &["destroy", "vm5"]);
    let ended =
        world.finished(&moving.id).with_context(|| format!("virsh destroy: {destroyed:?}"))?;
    ensure!(ended["state"] == "failed", "{ended}");
    ensure!(text(&ended, "failure").contains("runs nowhere"), "{ended}");
    let shown = world.json(&["guest", "show", "vm5"])?;
    world.lab.virsh(text(&shown, "host"), &["start", "vm5"])?;
    world.lab.wait_for_guest("vm5")?;
    world.home("vm5").map(drop)
}

fn went_through(operation: &Value, state: &str) -> bool {
    items(&operation["timeline"]).iter().any(|step| text(step, "state") == state)
}

fn arrived_whole(world: &World, guest: &str, from: &str, to: &str) -> anyhow::Result<()> {
    ensure!(world.home(guest)? == to, "{guest} is not on {to}");
    ensure!(world.lab.virsh(from, &["dominfo", guest]).is_err(), "a copy is left on {from}");
    world.memory_is_whole(guest)
}
