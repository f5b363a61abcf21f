//! PID 1 of a member of the lab: builds its root, starts its daemons, starts them again
//! when they end, and reaps what nobody else does. Asked as systemd is asked
//! (`kill -s RTMIN+4 1`), it ends them in order and switches the host off.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use signal_hook::consts::SIGCHLD;

use crate::addresses::{Network, number_of};
use crate::network::cables;
use crate::sanlock::sanlock;
use crate::spec::LabSpec;
use crate::storage::{Locks, STORAGE};
use crate::targets::tgtd;
use crate::tools::run;
use crate::{powercap, root};

/// A daemon that ended is started again after this long, as systemd would by default for
/// services that set Restart=.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// By this signal systemd's PID 1 powers off (systemd(1)): SIGRTMIN+4, where the C library's
/// SIGRTMIN is 34.
const POWER_OFF: i32 = 34 + 4;

/// What no signal tells, such as a file that a daemon waits for, is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Daemons that have not ended by then are killed with the host.
const END_PATIENCE: Duration = Duration::from_secs(5);

struct Daemon {
    name: &'static str,
    command: Vec<String>,
    /// It is started once this file exists.
    needs: Option<&'static str>,
    running: Option<i32>,
    not_before: Instant,
}

/// Runs until it is killed.
pub fn host_init(spec: &LabSpec, member: &str) -> anyhow::Result<()> {
    rustix::system::sethostname(member.as_bytes()).context("set the host name")?;
    root::enter(spec, member)?;
    let off = Arc::new(AtomicBool::new(false));
    let mut bell = Bell::new()?;
    let mut daemons = match member {
        "ctl" => controller(),
        STORAGE => vec![daemon("tgtd", &tgtd(), None)],
        _ => {
            signal_hook::flag::register(POWER_OFF, Arc::clone(&off)).context("hear a signal")?;
            set_addresses(member)?;
            powercap::feed(spec.host_cores);
            host(spec.locks)
        }
    };
    loop {
        if off.load(Ordering::Relaxed) {
            return switch_off(member, &mut daemons, &mut bell);
        }
        for daemon in &mut daemons {
            start_if_due(daemon);
        }
        reap(&mut daemons);
        bell.wait();
    }
}

/// Rung when a child ends or the host is to be switched off.
struct Bell(UnixStream);

impl Bell {
    fn new() -> anyhow::Result<Self> {
        let (ringing, hearing) = UnixStream::pair().context("make a pair of sockets")?;
        for signal in [SIGCHLD, POWER_OFF] {
            let ringing = ringing.try_clone().context("copy a socket")?;
            signal_hook::low_level::pipe::register(signal, ringing).context("hear a signal")?;
        }
        hearing.set_read_timeout(Some(LOOK_EVERY)).context("set a time limit")?;
        Ok(Self(hearing))
    }

    /// Until it rings, and not for long.
    fn wait(&mut self) {
        // Silence ends as an error: it is all the same.
        let _ = self.0.read(&mut [0; 64]);
    }
}

/// A host that was switched off in order has given its addresses up.
fn set_addresses(host: &str) -> anyhow::Result<()> {
    let number = number_of(host).context("a host is called h and a number")?;
    for network in addressed(host) {
        let (address, interface) = (network.address(number), network.interface());
        run(&format!("ip addr replace {address}/24 dev {interface}"))?;
    }
    Ok(())
}

/// Networks on which a host has an address of its own.
fn addressed(host: &str) -> impl Iterator<Item = Network> {
    cables(host).iter().copied().filter(|network| *network != Network::Guest)
}

/// Ends the daemons, then lets nobody answer at the host's addresses, then everything else
/// ends with this process: that is what the kernel does when PID 1 of a namespace ends.
fn switch_off(host: &str, daemons: &mut [Daemon], bell: &mut Bell) -> anyhow::Result<()> {
    eprintln!("switching off");
    for daemon in daemons.iter() {
        if let Some(pid) = daemon.running.and_then(Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let deadline = Instant::now() + END_PATIENCE;
    while daemons.iter().any(|daemon| daemon.running.is_some()) && Instant::now() < deadline {
        reap(daemons);
        bell.wait();
    }
    for network in addressed(host) {
        run(&format!("ip addr flush dev {}", network.interface()))?;
    }
    Ok(())
}

fn daemon(name: &'static str, line: &str, needs: Option<&'static str>) -> Daemon {
    Daemon {
        name,
        command: line.split_whitespace().map(str::to_owned).collect(),
        needs,
        running: None,
        not_before: Instant::now(),
    }
}

fn host(locks: Locks) -> Vec<Daemon> {
    // libvirtd makes its lockspace known to the lock daemon when it starts.
    let (lock_daemon, socket) = match locks {
        Locks::None => (None, None),
        Locks::Lockd => (
            Some(daemon("virtlockd", "/usr/sbin/virtlockd", None)),
            Some("/run/libvirt/virtlockd-sock"),
        ),
        Locks::Sanlock => {
            (Some(daemon("sanlock", &sanlock(), None)), Some("/run/sanlock/sanlock.sock"))
        }
    };
    let mut daemons: Vec<Daemon> = lock_daemon.into_iter().collect();
    daemons.extend([
        daemon("libvirtd", "/usr/sbin/libvirtd --listen", socket),
        daemon(
            "agent",
            "/opt/drover/drover-agent run --config /etc/drover/agent.toml",
            Some("/run/lab/joined"),
        ),
    ]);
    daemons
}

fn controller() -> Vec<Daemon> {
    let line = "/opt/drover/droverd --state-dir /var/lib/drover --api-listen 10.77.0.100:7440 \
                --agent-listen 10.77.0.100:7441 --advertise 10.77.0.100 \
                --evaluation-interval 2s --sample-interval 2s";
    vec![daemon("droverd", line, Some("/run/lab/start-droverd"))]
}

fn start_if_due(daemon: &mut Daemon) {
    let ready = daemon.needs.is_none_or(|file| Path::new(file).exists());
    if daemon.running.is_some() || !ready || Instant::now() < daemon.not_before {
        return;
    }
    daemon.not_before = Instant::now() + RESTART_AFTER;
    match spawn(daemon) {
        Ok(pid) => daemon.running = Some(pid),
        Err(error) => eprintln!("{}: {error:#}", daemon.name),
    }
}

fn spawn(daemon: &Daemon) -> anyhow::Result<i32> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(format!("/run/lab/{}.log", daemon.name))?;
    let child = Command::new(&daemon.command[0])
        .args(&daemon.command[1..])
        .env_clear()
        .envs(environment())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let pid = i32::try_from(child.id())?;
    // How `drover-lab restart` finds exactly this process.
    std::fs::write(format!("/run/lab/{}.pid", daemon.name), pid.to_string())?;
    Ok(pid)
}

/// What programs inside a member find in their environment.
pub(crate) fn environment() -> BTreeMap<&'static str, &'static str> {
    [
        ("PATH", "/opt/drover:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
        ("DROVER_CONFIG", "/var/lib/drover/admin.toml"),
        ("RUST_LOG", "info"),
    ]
    .into()
}

/// Reaps every child that has ended. QEMU's parent is this process: libvirt takes a zombie
/// for a process that lives, so there must be none for longer than a moment.
fn reap(daemons: &mut [Daemon]) {
    while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
        for daemon in daemons.iter_mut() {
            if daemon.running == Some(pid.as_raw_nonzero().get()) {
                daemon.running = None;
                daemon.not_before = Instant::now() + RESTART_AFTER;
            }
        }
    }
}
