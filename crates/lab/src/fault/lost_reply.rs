//! The fault that can double a guest: libvirt on the target has started it, and the
//! source's libvirt never hears so.
//!
//! libvirt's peer-to-peer migration ends with a call to the target, `Finish3`. When its
//! reply is lost, the source gives up after its keepalive and resumes its own copy. What
//! then keeps two copies from running is a lock, or an arrival that is paused.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::{Direction, ProxyHandle};
use crate::tools::{wait_for, write};
use crate::{Drover, Lab};

/// libvirtd's TLS port, and the proxy's before it.
const LIBVIRT_PORT: u16 = 16_514;
const PROXY_PORT: u16 = 17_514;
/// So slow that the fault can be set between two steps of the migration.
const BANDWIDTH_MIB: &str = "12";
/// The transfer has begun within so long.
const BEGIN: Duration = Duration::from_secs(30);
/// The source's keepalive takes 30 s; then it decides. Nothing takes longer than this.
const WATCHED: Duration = Duration::from_secs(90);
/// Once the move has ended, what is cleaned up after it is watched for so long.
const SETTLED: Duration = Duration::from_secs(5);
/// What runs is told from what has stopped within so long.
const LOOKED: Duration = Duration::from_secs(5);

/// Who moves the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MoveBy {
    /// `virsh migrate --p2p`: the guest runs on the target as soon as it has arrived.
    Virsh,
    /// `drover guest migrate`: it arrives paused and is resumed by the target's agent.
    Drover,
}

/// What a host shows of the guest at last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEvidence {
    /// The host.
    pub host: String,
    /// State and reason by libvirt; empty where it is not there.
    pub state: String,
    /// CPU time that its QEMU spent while it was looked at, milliseconds.
    pub cpu_ms: u64,
    /// Writes to its disk meanwhile. A lab guest that runs writes once a second.
    pub disk_writes: u64,
}

impl HostEvidence {
    /// Whether the guest's code ran here: only then does its disk change.
    pub const fn ran(&self) -> bool {
        self.disk_writes > 0
    }
}

/// States at a moment, when they had changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Seconds since the reply was held.
    pub after_s: f64,
    /// State and reason on the source.
    pub source: String,
    /// State and reason on the target.
    pub target: String,
}

/// What came of a lost reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LostReply {
    /// How the states went.
    pub seen: Vec<Seen>,
    /// How whoever moved the guest says that it ended.
    pub said: String,
    /// The source at last.
    pub source: HostEvidence,
    /// The target at last.
    pub target: HostEvidence,
}

impl LostReply {
    /// Whether two copies of the guest ran.
    pub const fn doubled(&self) -> bool {
        self.source.ran() && self.target.ran()
    }
}

/// Moves a running guest to `to` and loses the reply that says that it has arrived.
/// Leaves both hosts as libvirt or Drover left them.
pub fn lose_reply(lab: &Lab, guest: &str, to: &str, by: MoveBy) -> anyhow::Result<LostReply> {
    let from = lab.host_of(guest)?.with_context(|| format!("{guest} does not run on one host"))?;
    ensure!(from != to, "{guest} is on {to} already");
    let mut proxy = lab.proxy(to, LIBVIRT_PORT, PROXY_PORT)?;
    let agent = match by {
        MoveBy::Virsh => None,
        MoveBy::Drover => Some(AgentBehindProxy::of(lab, to, &proxy)?),
    };
    let mut moving = begin(lab, guest, &from, to, by, &proxy)?;
    let begun = wait_for("the transfer", BEGIN, || {
        transferring(lab, &from, guest) || moving.try_wait().is_ok_and(|ended| ended.is_some())
    });
    proxy.hold(Direction::ToClient)?;
    let seen = match &begun {
        Ok(()) if moving.try_wait()?.is_none() => watch(lab, guest, (&from, to), &mut moving),
        _ => Vec::new(),
    };
    // Whoever still waits is not waited for.
    let _ = moving.kill();
    let done = moving.wait_with_output()?;
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).trim().to_owned();
    begun.with_context(|| said.clone())?;
    ensure!(!seen.is_empty(), "the move did not begin: {said}");
    let (source, target) = evidence(lab, guest, &from, to)?;
    drop(proxy);
    if let Some(agent) = agent {
        agent.restore(lab)?;
    }
    Ok(LostReply { seen, said, source, target })
}

fn begin(
    lab: &Lab,
    guest: &str,
    from: &str,
    to: &str,
    by: MoveBy,
    proxy: &ProxyHandle,
) -> anyhow::Result<Child> {
    let mut command = match by {
        MoveBy::Virsh => {
            let mut virsh = Command::new("virsh");
            virsh.args(["-q", "-c", &lab.libvirt_uri(from), "migrate", "--live", "--p2p"]);
            // libvirt cannot know that the lab's directory is shared.
            virsh.args(["--unsafe"]);
            virsh.args(["--persistent", "--undefinesource", "--bandwidth", BANDWIDTH_MIB, guest]);
            virsh.arg(format!("qemu+tls://{}/system", proxy.address));
            virsh
        }
        MoveBy::Drover => {
            let mut drover = lab.command("controller", "drover")?;
            drover.args(["guest", "migrate", guest, "--to", to]);
            drover.args(["--max-bandwidth", &format!("{BANDWIDTH_MIB}MiB/s")]);
            drover
        }
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("begin the move")
}

/// Whether memory is on its way: then the target is prepared and its reply was heard.
fn transferring(lab: &Lab, from: &str, guest: &str) -> bool {
    let Ok(job) = lab.virsh(from, &["domjobinfo", guest]) else { return false };
    let processed = job.lines().find_map(|line| line.strip_prefix("Memory processed:"));
    processed.is_some_and(|amount| !amount.trim().starts_with("0.000"))
}

fn state(lab: &Lab, host: &str, guest: &str) -> String {
    lab.virsh(host, &["domstate", guest, "--reason"]).unwrap_or_default().trim().to_owned()
}

fn watch(lab: &Lab, guest: &str, (from, to): (&str, &str), moving: &mut Child) -> Vec<Seen> {
    let begun = Instant::now();
    let mut ended: Option<Instant> = None;
    let mut seen: Vec<Seen> = Vec::new();
    while begun.elapsed() < WATCHED && ended.is_none_or(|at| at.elapsed() < SETTLED) {
        let (source, target) = (state(lab, from, guest), state(lab, to, guest));
        let new = seen.last().is_none_or(|last| last.source != source || last.target != target);
        if new {
            seen.push(Seen { after_s: begun.elapsed().as_secs_f64(), source, target });
        }
        if ended.is_none() && moving.try_wait().is_ok_and(|status| status.is_some()) {
            ended = Some(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    seen
}

fn evidence(
    lab: &Lab,
    guest: &str,
    from: &str,
    to: &str,
) -> anyhow::Result<(HostEvidence, HostEvidence)> {
    let before = [counters(lab, from, guest), counters(lab, to, guest)];
    std::thread::sleep(LOOKED);
    let after = [counters(lab, from, guest), counters(lab, to, guest)];
    let of = |host: &str, index: usize| HostEvidence {
        host: host.to_owned(),
        state: state(lab, host, guest),
        cpu_ms: after[index].0.saturating_sub(before[index].0) / 1_000_000,
        disk_writes: after[index].1.saturating_sub(before[index].1),
    };
    Ok((of(from, 0), of(to, 1)))
}

/// CPU time in nanoseconds and writes of a guest's QEMU on a host; zeros where it is not.
fn counters(lab: &Lab, host: &str, guest: &str) -> (u64, u64) {
    let stats = lab.virsh(host, &["domstats", "--raw", "--cpu-total", "--block", guest]);
    let stats = stats.unwrap_or_default();
    let field = |name: &str| {
        let value =
            stats.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    (field("cpu.time"), field("block.0.wr.reqs"))
}

/// The target's agent names the proxy as its host's libvirt.
struct AgentBehindProxy {
    host: String,
    before: String,
}

impl AgentBehindProxy {
    fn of(lab: &Lab, host: &str, proxy: &ProxyHandle) -> anyhow::Result<Self> {
        let before = std::fs::read_to_string(config(lab, host))?;
        let direct = format!("qemu+tls://{}/system", lab.address(host)?);
        ensure!(before.contains(&direct), "the agent's configuration names another peer_uri");
        let behind = format!("qemu+tls://{}/system", proxy.address);
        rewrite(lab, host, &before.replace(&direct, &behind))?;
        Ok(Self { host: host.to_owned(), before })
    }

    fn restore(self, lab: &Lab) -> anyhow::Result<()> {
        rewrite(lab, &self.host, &self.before)
    }
}

fn config(lab: &Lab, host: &str) -> std::path::PathBuf {
    lab.member_dir(host).join("etc-drover/agent.toml")
}

/// Gives the agent another configuration and waits until it is back.
fn rewrite(lab: &Lab, host: &str, text: &str) -> anyhow::Result<()> {
    write(&config(lab, host), text)?;
    let before = lab.pid_of(host, "agent")?;
    lab.kill_daemon(host, "agent")?;
    wait_for("the agent", BEGIN, || lab.pid_of(host, "agent").is_ok_and(|pid| pid != before))?;
    wait_for("the agent's word", BEGIN, || {
        let shown = Drover::of(lab).json(&["host", "show", host]);
        shown.is_ok_and(|shown| shown["state"] == "online")
    })
}
