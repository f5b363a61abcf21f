//! A lab: brought up, used, and taken down without a trace.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::addresses::{CONTROLLER, Network, guest_address, host_address, number_of};
use crate::bmc::BMC;
use crate::fault::ProxyHandle;
use crate::hostinit::environment;
use crate::root::DROPPED_NAMES;
use crate::spec::LabSpec;
use crate::storage::{GuestDisk, LOCKSPACE, Locks, STORAGE, initiator};
use crate::tools::{output, run, start_time, wait_for, write};
use crate::{ProbeHandle, claim, guest, image, network, pki, probe, sanlock};

/// The controller's name as a member.
pub(crate) const CTL: &str = "ctl";
/// A host's libvirtd answers within so long.
const LIBVIRT_UP: Duration = Duration::from_secs(60);

/// Whether a cable is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Frames pass.
    Up,
    /// Nothing passes, and nobody is told.
    Down,
}

/// A host as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub on: bool,
    /// Its management address.
    pub address: String,
    /// Its active guests.
    pub guests: Vec<String>,
}

/// PID 1 of a member, as the machine sees it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Init {
    pid: i32,
    start_time: u64,
}

/// A lab on this machine.
#[derive(Debug, Clone)]
pub struct Lab {
    spec: LabSpec,
}

impl Lab {
    /// Brings up what is missing of this lab: switch, hosts, guests. Drover's own programs
    /// are started by [`crate::Drover`].
    pub fn up(spec: LabSpec, say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        spec.check()?;
        check_machine()?;
        let mut lab = Self { spec };
        std::fs::create_dir_all(&lab.spec.dir)
            .with_context(|| format!("create {}", lab.spec.dir.display()))?;
        let kept = lab.spec.dir.join("lab.json");
        if let Ok(before) = Self::open(&lab.spec.dir) {
            let fewer = before.spec.hosts > lab.spec.hosts || before.spec.guests > lab.spec.guests;
            ensure!(
                before.spec.name == lab.spec.name && !fewer,
                "the lab in {} is called {} and has {} hosts and {} guests: it can be given \
                 more, under its name, or be taken down first (drover-lab down)",
                lab.spec.dir.display(),
                before.spec.name,
                before.spec.hosts,
                before.spec.guests
            );
            ensure!(
                before.spec.releases == lab.spec.releases,
                "the hosts of the lab in {} run other Debian releases: take it down first \
                 (drover-lab down)",
                lab.spec.dir.display()
            );
            lab.spec.bmc |= before.spec.bmc;
        }
        lab.spec.releases.make_roots()?;
        claim::take(&lab.spec)?;
        write(&kept, &serde_json::to_string_pretty(&lab.spec)?)?;
        say("guest image");
        image::make_image(&lab.spec.dir.join("image"))?;
        if lab.spec.locks == Locks::Sanlock {
            sanlock::prepare(&lab.spec.dir.join("image"))?;
        }
        pki::make(&lab.spec.dir, &lab.spec.host_names())?;
        std::fs::create_dir_all(lab.shared().join(LOCKSPACE))?;
        std::fs::create_dir_all(lab.spec.dir.join("guests"))?;
        say("switch");
        network::make_switch(&lab.spec.name)?;
        network::make_member(&lab.spec.name, CTL, CONTROLLER)?;
        lab.start_member(CTL)?;
        for host in lab.spec.host_names() {
            let number = number_of(&host).context("a host is called h and a number")?;
            network::make_member(&lab.spec.name, &host, number)?;
            lab.write_host_config(&host)?;
            if lab.stands_by(&host) {
                lab.switch_on(&host)?;
            }
            lab.start_member(&host)?;
        }
        // What was there before is there again after the machine's own restart.
        if lab.spec.storage.disk == GuestDisk::Iscsi || lab.spec.dir.join("luns").exists() {
            say(initiator().as_str());
            lab.start_storage()?;
        }
        if lab.spec.bmc {
            say("BMCs");
            lab.start_bmcs()?;
        }
        say("libvirt");
        for host in lab.spec.host_names() {
            lab.wait_for_libvirt(&host)?;
        }
        if lab.spec.guests > 0 {
            say("guests");
            lab.start_guests()?;
        }
        Ok(lab)
    }

    /// The lab that was brought up in this directory.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("lab.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("there is no lab in {}; bring one up with `drover-lab up`", dir.display())
        })?;
        Ok(Self { spec: serde_json::from_str(&text).context("lab.json is unreadable")? })
    }

    /// What it is made of.
    pub const fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// Takes everything down and removes its directory, but for the guest image.
    pub fn down(&self) -> anyhow::Result<()> {
        // First: they could switch a host on again.
        kill_all_in(&self.namespace(BMC))?;
        let mut members = self.spec.host_names();
        members.extend([CTL.to_owned(), STORAGE.to_owned()]);
        for member in &members {
            self.kill_member(member)?;
        }
        for namespace in network::existing(&self.spec.name) {
            kill_all_in(&namespace)?;
        }
        network::remove_all(&self.spec.name)?;
        claim::release(&self.spec);
        for entry in std::fs::read_dir(&self.spec.dir)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name == "image") {
                continue;
            }
            if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            }
            .with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Each host with its guests.
    pub fn status(&self) -> anyhow::Result<Vec<HostStatus>> {
        self.spec
            .host_names()
            .into_iter()
            .map(|name| {
                let on = self.init_of(&name).is_some();
                let guests =
                    if on { self.virsh(&name, &["list", "--name"])? } else { String::new() };
                Ok(HostStatus {
                    address: host_address(&name).unwrap_or_default(),
                    guests: guests.split_whitespace().map(str::to_owned).collect(),
                    name,
                    on,
                })
            })
            .collect()
    }

    /// A command that runs inside a member: all its namespaces, its root, its limits.
    pub fn command(&self, member: &str, program: &str) -> anyhow::Result<Command> {
        let member = if member == "controller" { CTL } else { member };
        let init = self.init_of(member).with_context(|| {
            format!("{member} is off or unknown; `drover-lab status` shows the hosts")
        })?;
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &init.pid.to_string(), "-m", "-u", "-i", "-n", "-p", "-r", "-w"])
            .args(["setpriv", "--bounding-set", DROPPED_NAMES, "--inh-caps", DROPPED_NAMES, "--"])
            .arg(program)
            .env_clear()
            .envs(environment());
        if let Ok(terminal) = std::env::var("TERM") {
            command.env("TERM", terminal);
        }
        Ok(command)
    }

    /// Runs a command inside a member and returns what it printed.
    pub fn exec(&self, member: &str, words: &[&str]) -> anyhow::Result<String> {
        let (program, rest) = words.split_first().context("no command")?;
        output(self.command(member, program)?.args(rest))
    }

    /// Power loss of a host or of the storage server `st`: the cables go dead first, so
    /// that peers see silence and no reset; then everything in it dies at once.
    pub fn power_off(&self, host: &str) -> anyhow::Result<()> {
        self.known_machine(host)?;
        let _held = self.hold_switch(host)?;
        for &network in network::cables(host) {
            network::set_link(&self.spec.name, host, network, false)?;
        }
        self.kill_member(host)?;
        if self.has_bmc(host) { self.stand_by(host) } else { Ok(()) }
    }

    /// Switches a host on and returns when its libvirtd answers; or the storage server,
    /// and returns when it exports its LUNs.
    pub fn power_on(&self, host: &str) -> anyhow::Result<()> {
        self.known_machine(host)?;
        if host == STORAGE {
            for &network in network::cables(host) {
                network::set_link(&self.spec.name, host, network, true)?;
            }
            return self.start_storage();
        }
        self.switch_on(host)?;
        self.wait_for_libvirt(host)
    }

    /// Pulls or plugs in a cable of a host or of the storage server `st`.
    pub fn link(&self, host: &str, network: Network, state: LinkState) -> anyhow::Result<()> {
        self.known_machine(host)?;
        ensure!(
            network::cables(host).contains(&network),
            "{host} has no cable to the {} network",
            network.bridge()
        );
        network::set_link(&self.spec.name, host, network, state == LinkState::Up)
    }

    /// Kills a daemon of a member (`droverd`, `agent`, `libvirtd`, `virtlockd`, `tgtd`)
    /// with SIGKILL; it is started again as systemd would. tgtd is then without LUNs until
    /// [`Lab::start_storage`].
    pub fn kill_daemon(&self, member: &str, daemon: &str) -> anyhow::Result<()> {
        let pid = self.daemon(member, daemon)?;
        self.exec(member, &["kill", "-9", &pid]).map(drop)
    }

    /// The process of a daemon of a member, as it was begun last.
    pub fn daemon(&self, member: &str, daemon: &str) -> anyhow::Result<String> {
        if member != CTL {
            self.known_machine(member)?;
        }
        let path = self.member_dir(member).join("run-lab").join(format!("{daemon}.pid"));
        let pid = std::fs::read_to_string(&path)
            .with_context(|| format!("{member} has no daemon `{daemon}`"))?;
        Ok(pid.trim().to_owned())
    }

    /// Keeps one vCPU of a guest busy for so many percent.
    pub fn load(&self, guest: &str, percent: u8) -> anyhow::Result<()> {
        ensure!(percent <= 100, "a load is 0 to 100 percent");
        self.guest_exec(guest, &format!("echo {percent} > /run/load")).map(drop)
    }

    /// Lets a guest dirty so many MiB each second within a working set.
    pub fn dirty(&self, guest: &str, mib_per_s: u32, working_set_mib: u32) -> anyhow::Result<()> {
        self.guest_exec(guest, &format!("echo {mib_per_s} {working_set_mib} > /run/dirty"))
            .map(drop)
    }

    /// Runs a shell command in a guest.
    pub fn guest_exec(&self, guest: &str, line: &str) -> anyhow::Result<String> {
        guest::exec(&self.namespace(CTL), guest, line)
    }

    /// Runs a shell command in a guest; what it printed, errors included, and its exit
    /// status.
    pub fn guest_run(&self, guest: &str, line: &str) -> anyhow::Result<(String, u8)> {
        let text = self.guest_exec(guest, &format!("( {line}\n) 2>&1; echo; echo $?"))?;
        let (printed, status) = text
            .trim_end()
            .rsplit_once('\n')
            .with_context(|| format!("guest {guest} answered `{text}`"))?;
        let status = status.trim().parse().with_context(|| format!("the status `{status}`"))?;
        Ok((printed.strip_suffix('\n').unwrap_or(printed).to_owned(), status))
    }

    /// The process of a member's daemon, as the machine sees it.
    pub fn pid_of(&self, member: &str, daemon: &str) -> anyhow::Result<i32> {
        let path = self.member_dir(member).join("run-lab").join(format!("{daemon}.pid"));
        let inside = std::fs::read_to_string(&path)
            .with_context(|| format!("{member} has no daemon `{daemon}`"))?;
        // The last of the ids is the one in the innermost PID namespace.
        let is_it = |pid: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            let status = status.unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            ids.is_some_and(|ids| ids.split_whitespace().last() == Some(inside.trim()))
        };
        network::processes_in(&self.namespace(member))
            .into_iter()
            .find(is_it)
            .with_context(|| format!("{daemon} of {member} does not run"))
    }

    /// Starts a probe of a guest from the controller's network, 20 times a second.
    pub fn probe(&self, guest: &str, limit: Option<Duration>) -> anyhow::Result<ProbeHandle> {
        self.probe_every(guest, limit, probe::INTERVAL)
    }

    /// Starts a probe that looks this often.
    pub fn probe_every(
        &self,
        guest: &str,
        limit: Option<Duration>,
        interval: Duration,
    ) -> anyhow::Result<ProbeHandle> {
        let address = guest_address(guest).context("a guest is called vm and a number")?;
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace(CTL)])
            .arg(self.spec.bin_dir.join("drover-lab"))
            .args(["probe-worker", "--address", &address])
            .args(["--interval-ms", &interval.as_millis().to_string()]);
        if let Some(limit) = limit {
            command.args(["--seconds", &limit.as_secs().to_string()]);
        }
        ProbeHandle::start(command)
    }

    /// Puts a proxy in front of a port of a host, at another port of its management
    /// address.
    pub fn proxy(&self, host: &str, port: u16, front: u16) -> anyhow::Result<ProxyHandle> {
        let address = self.address(host)?;
        let listen = format!("{address}:{front}");
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace(host)])
            .arg(self.spec.bin_dir.join("drover-lab"))
            .args(["proxy-worker", "--listen", &listen])
            .args(["--server", &format!("{address}:{port}")]);
        ProxyHandle::start(command, listen)
    }

    /// libvirt URI of a host, usable from outside its namespaces.
    pub fn libvirt_uri(&self, host: &str) -> String {
        let socket = self.member_dir(host).join("run-libvirt/libvirt-sock");
        format!("qemu+unix:///system?socket={}", socket.display())
    }

    /// libvirt URI of a host as the other hosts reach it.
    pub fn peer_uri(&self, host: &str) -> anyhow::Result<String> {
        Ok(format!("qemu+tls://{}/system", self.address(host)?))
    }

    /// A host's address in the management network.
    pub fn address(&self, host: &str) -> anyhow::Result<String> {
        host_address(host).context("a host is called h and a number")
    }

    /// Runs virsh against a host.
    pub fn virsh(&self, host: &str, words: &[&str]) -> anyhow::Result<String> {
        output(Command::new("virsh").args(["-q", "-c", &self.libvirt_uri(host)]).args(words))
    }

    /// The host on which a guest is active, if there is exactly one.
    pub fn host_of(&self, guest: &str) -> anyhow::Result<Option<String>> {
        let on: Vec<String> = self
            .status()?
            .into_iter()
            .filter(|host| host.guests.iter().any(|name| name == guest))
            .map(|host| host.name)
            .collect();
        Ok(if on.len() == 1 { on.into_iter().next() } else { None })
    }

    pub(crate) fn member_dir(&self, member: &str) -> PathBuf {
        self.spec.dir.join("hosts").join(member)
    }

    pub(crate) fn namespace(&self, member: &str) -> String {
        network::namespace(&self.spec.name, member)
    }

    pub(crate) fn known_host(&self, host: &str) -> anyhow::Result<()> {
        if self.spec.host_names().iter().any(|name| name == host) {
            return Ok(());
        }
        bail!("there is no host `{host}`; there are {}", self.spec.host_names().join(", "))
    }

    /// A host, or the storage server once there is one.
    fn known_machine(&self, name: &str) -> anyhow::Result<()> {
        if name != STORAGE {
            return self.known_host(name);
        }
        ensure!(
            self.spec.dir.join("luns").exists(),
            "this lab has no storage server: it comes with the first guest that has an iSCSI disk"
        );
        Ok(())
    }

    /// Whether a host is switched on.
    pub fn is_on(&self, host: &str) -> bool {
        self.init_of(host).is_some()
    }

    /// The process that is PID 1 of a member, as the machine sees it.
    pub(crate) fn init_pid(&self, member: &str) -> Option<i32> {
        self.init_of(member).map(|init| init.pid)
    }

    /// PID 1 of a member, if it lives.
    fn init_of(&self, member: &str) -> Option<Init> {
        let text = std::fs::read_to_string(self.member_dir(member).join("init.json")).ok()?;
        let init: Init = serde_json::from_str(&text).ok()?;
        (start_time(init.pid) == Some(init.start_time)).then_some(init)
    }

    pub(crate) fn start_member(&self, member: &str) -> anyhow::Result<()> {
        if self.init_of(member).is_some() {
            return Ok(());
        }
        // A killed `up` may have left a PID 1 that it did not come to write down.
        kill_all_in(&self.namespace(member))?;
        let dir = self.member_dir(member);
        // What a power cycle leaves in /run is gone on a real host.
        for volatile in ["run-libvirt", "run-lab"] {
            let _ = std::fs::remove_dir_all(dir.join(volatile));
        }
        for name in ["etc-drover", "etc-libvirt", "pki", "log/qemu"] {
            std::fs::create_dir_all(dir.join(name))?;
        }
        let log = File::create(dir.join("init.log"))?;
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.namespace(member)])
            .args(["setsid", "unshare", "-m", "-u", "-i", "-p", "-f", "--kill-child"])
            .args(["--propagation", "private"])
            .arg(self.spec.bin_dir.join("drover-lab"))
            .args(["host-init", "--member", member, "--dir"])
            .arg(&self.spec.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start a member; ip(8) and unshare(1) are needed")?;
        let outer = i32::try_from(child.id())?;
        let mut pid = None;
        wait_for(&format!("namespaces of {member}"), Duration::from_secs(10), || {
            pid = only_child(outer);
            pid.is_some() || child.try_wait().is_ok_and(|status| status.is_some())
        })?;
        let pid = pid.with_context(|| self.why_not(member))?;
        let start_time = start_time(pid).with_context(|| self.why_not(member))?;
        write(&dir.join("init.json"), &serde_json::to_string(&Init { pid, start_time })?)?;
        // The agent of a host that has joined starts with it.
        let joined = dir.join("agent/lab-joined").exists();
        if joined { write(&dir.join("run-lab/joined"), "") } else { Ok(()) }
    }

    fn why_not(&self, member: &str) -> String {
        let log = std::fs::read_to_string(self.member_dir(member).join("init.log"));
        format!("{member} did not start: {}", log.unwrap_or_default().trim())
    }

    fn kill_member(&self, member: &str) -> anyhow::Result<()> {
        if let Some(init) = self.init_of(member) {
            let pid = rustix::process::Pid::from_raw(init.pid).context("a pid is positive")?;
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                .with_context(|| format!("kill PID 1 of {member}"))?;
            wait_for(&format!("the end of {member}"), Duration::from_secs(10), || {
                self.init_of(member).is_none()
            })?;
        }
        let _ = std::fs::remove_file(self.member_dir(member).join("init.json"));
        Ok(())
    }

    fn wait_for_libvirt(&self, host: &str) -> anyhow::Result<()> {
        wait_for(&format!("libvirtd of {host}"), LIBVIRT_UP, || {
            self.virsh(host, &["version"]).is_ok()
        })
        .with_context(|| format!("{}{}", self.why_not(host), self.last_words(host)))
    }

    /// What a host's libvirtd wrote last.
    fn last_words(&self, host: &str) -> String {
        let path = self.member_dir(host).join("log/libvirtd.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().last().map(|line| format!(" libvirtd says: {line}")).unwrap_or_default()
    }
}

/// Root, and the right to make namespaces.
fn check_machine() -> anyhow::Result<()> {
    let needs = "drover-lab needs root and the right to make namespaces";
    ensure!(rustix::process::geteuid().is_root(), "{needs}: run it as root, e.g. with sudo");
    run("unshare -m -u -i -n -p -f true")
        .with_context(|| format!("{needs}: a container must allow them (CAP_SYS_ADMIN)"))?;
    for program in ["ip", "nsenter", "setpriv", "virsh", "curl", "ping"] {
        ensure!(
            run(&format!("which {program}")).is_ok(),
            "{program} is not installed; scripts/setup.sh installs what the lab needs"
        );
    }
    Ok(())
}

/// Kills every process in a network namespace of the lab's.
pub(crate) fn kill_all_in(namespace: &str) -> anyhow::Result<()> {
    for pid in network::processes_in(namespace) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // It may end by itself meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    wait_for(&format!("the end of all in {namespace}"), Duration::from_secs(10), || {
        network::processes_in(namespace).is_empty()
    })
}

fn only_child(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}
