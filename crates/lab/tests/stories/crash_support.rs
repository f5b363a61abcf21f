//! One row of the crash table: a fault, the phase that it hits, and how to bring both about.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use drover_lab::tools::run;
use drover_lab::{Drover, GuestDisk, GuestLease, Lab, LinkState, Network};

use super::world::{World, text};

/// A guest whose move another one waits for.
const OTHER: &str = "vm44";
/// So often two copies are looked for.
const LOOK: Duration = Duration::from_millis(200);
/// libvirt that does not say within so long, seconds, says nothing.
const SAYS_WITHIN_S: &str = "2";
/// Memory is on its way when so much was sent, bytes: zero pages, which are next to nothing,
/// come first.
const UNDER_WAY: u64 = 4 << 20;
/// A storage cable is out for so long.
const STORAGE_OUT: Duration = Duration::from_secs(8);
/// Where the hosts' own images are.
const IMAGES: &str = "/var/lib/libvirt/images";
/// QEMU listens for migrations on these ports, as libvirt is configured by default.
const MIGRATION_PORTS: std::ops::RangeInclusive<u16> = 49_152..=49_215;
/// A socket that listens, in /proc/net/tcp.
const LISTENS: &str = "0A";

/// What dies or is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Controller,
    SourceAgent,
    TargetAgent,
    SourceLibvirtd,
    TargetLibvirtd,
    SourceQemu,
    TargetQemu,
    SourceHost,
    TargetHost,
    /// The source's cable that memory goes over, until its host is said to be unreachable.
    ManagementCut,
    /// The source's cable to the disks.
    StorageCut,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The target has been asked and has not answered.
    Offering,
    /// Memory is sent for the first time.
    FirstPass,
    /// All is sent, the source's copy is paused, and the target's libvirt has not said that
    /// it has the guest: libvirt's phase between Perform and Finish.
    HandingOver,
    /// Nothing is left on the source, and the target has not let the guest run.
    Resuming,
    /// The guest runs on the target and its memory is on both.
    PostCopy,
    /// The guest runs on the target, and the source has yet to remove its disk.
    Owing,
}

/// The guest of all rows, and where it is.
pub(crate) struct Scene<'w> {
    pub(crate) world: &'w World,
    pub(crate) guest: &'static str,
    pub(crate) disk: GuestDisk,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// A process that stands still; it goes on when this is dropped.
pub(crate) struct Held(Vec<i32>);

impl Held {
    fn hold(&mut self, lab: &Lab, member: &str, daemon: &str) -> anyhow::Result<()> {
        let pid = lab.pid_of(member, daemon)?;
        run(&format!("kill -STOP {pid}"))?;
        self.0.push(pid);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for pid in &self.0 {
            // The fault may have killed it.
            let _ = run(&format!("kill -CONT {pid}"));
        }
    }
}

impl Scene<'_> {
    /// Begins a move and brings it to a phase. Returns the operation's id, and what is held
    /// to keep it there.
    pub(crate) fn reach(&self, phase: Phase) -> anyhow::Result<(String, Held)> {
        let lab = &self.world.lab;
        let mut held = Held(Vec::new());
        let copied = ["--copy-storage", "full"];
        let way = if self.disk == GuestDisk::Local { &copied[..] } else { &[] };
        let slow = || {
            let id = self.world.begin_slow_move_with(self.guest, &self.to, way)?;
            // Before that libvirt still talks with the target, and QEMU may not have begun.
            self.world.until("memory on its way", || {
                let shown = self.world.json(&["operation", "show", &id])?;
                Ok(shown["progress"]["processed_bytes"].as_u64() > Some(UNDER_WAY))
            })?;
            Ok::<_, anyhow::Error>(id)
        };
        let id = match phase {
            Phase::Offering => {
                // The target is asked before a move is admitted, and must not be held then:
                // so the move is made to wait for its turn.
                let other = self.keep_waiting()?;
                let words = ["guest", "migrate", self.guest, "--to", &self.to, "--no-wait"];
                let begun = self.world.json(&[&words[..], way].concat())?;
                held.hold(lab, &self.to, "agent")?;
                self.world.drover(&["limit", "set"])?;
                let id = text(&begun, "id").to_owned();
                self.until_state(&id, "offering")?;
                self.world.drover(&["operation", "cancel", &other])?;
                id
            }
            Phase::FirstPass => slow()?,
            Phase::HandingOver => {
                let id = slow()?;
                held.hold(lab, &self.to, "libvirtd")?;
                self.lift(&id)?;
                self.world.until("the paused source", || {
                    Ok(state(lab, &self.from, self.guest).is_some_and(|is| is == "paused"))
                })?;
                id
            }
            Phase::Resuming => {
                let id = slow()?;
                held.hold(lab, &self.to, "agent")?;
                self.lift(&id)?;
                self.until_state(&id, "resuming")?;
                id
            }
            Phase::PostCopy => {
                let way = ["--post-copy", "now"];
                let id = self.world.begin_move_with(self.guest, &self.to, "4MiB/s", &way)?;
                self.world.until("the switch", || {
                    Ok(lab
                        .virsh(&self.from, &["domstate", self.guest, "--reason"])?
                        .contains("post-copy"))
                })?;
                // A moment later, by libvirt's word.
                self.world.until("the running target", || {
                    Ok(state(lab, &self.to, self.guest).is_some_and(|is| is == "running"))
                })?;
                id
            }
            Phase::Owing => {
                let (id, before) = self.reach(Phase::Resuming)?;
                held.hold(lab, &self.from, "agent")?;
                drop(before);
                self.until_state(&id, "completed")?;
                id
            }
        };
        Ok((id, held))
    }

    /// Begins a slow move of another guest that takes all that may come to the target.
    fn keep_waiting(&self) -> anyhow::Result<String> {
        let lab = &self.world.lab;
        if self.world.home(OTHER).is_err() {
            lab.start_guest_with(OTHER, &self.from, GuestDisk::Shared, GuestLease::None)?;
            lab.wait_for_guest(OTHER)?;
        }
        if self.world.home(OTHER)? != self.from {
            self.world.measured(OTHER)?;
            self.world.drover(&["guest", "migrate", OTHER, "--to", &self.from])?;
        }
        self.world.measured(OTHER)?;
        self.world.drover(&["limit", "set", "--in-per-host", "1"])?;
        self.world.begin_slow_move(OTHER, &self.to)
    }

    fn until_state(&self, id: &str, state: &str) -> anyhow::Result<()> {
        self.world.until(state, || {
            let shown = self.world.json(&["operation", "show", id])?;
            ensure!(shown["finished"] == false || state == "completed", "it is over: {shown}");
            Ok(text(&shown, "state") == state)
        })
    }

    /// Lets a slow transfer go as fast as it can.
    pub(crate) fn lift(&self, id: &str) -> anyhow::Result<()> {
        self.world.drover(&["operation", "set", id, "--no-bandwidth-cap"]).map(drop)
    }

    /// The fault.
    pub(crate) fn strike(&self, fault: Fault) -> anyhow::Result<()> {
        let lab = &self.world.lab;
        match fault {
            Fault::Controller => lab.kill_daemon("ctl", "droverd"),
            Fault::SourceAgent => lab.kill_daemon(&self.from, "agent"),
            Fault::TargetAgent => lab.kill_daemon(&self.to, "agent"),
            Fault::SourceLibvirtd => lab.kill_daemon(&self.from, "libvirtd"),
            Fault::TargetLibvirtd => lab.kill_daemon(&self.to, "libvirtd"),
            Fault::SourceQemu => self.kill_qemu(&self.from),
            Fault::TargetQemu => self.kill_qemu(&self.to),
            Fault::SourceHost => lab.power_off(&self.from),
            Fault::TargetHost => lab.power_off(&self.to),
            Fault::ManagementCut => lab.link(&self.from, Network::Management, LinkState::Down),
            Fault::StorageCut => lab.link(&self.from, Network::Storage, LinkState::Down),
        }
    }

    fn kill_qemu(&self, host: &str) -> anyhow::Result<()> {
        let processes = processes(&self.world.lab, host, self.guest);
        let [pid] = processes.as_slice() else { bail!("QEMU processes on {host}: {processes:?}") };
        run(&format!("kill -9 {pid}")).map(drop)
    }

    /// What an operator does about it, or what happens by itself.
    pub(crate) fn mend(&self, fault: Fault) -> anyhow::Result<()> {
        let lab = &self.world.lab;
        match fault {
            Fault::SourceHost | Fault::TargetHost => {
                let host = if fault == Fault::SourceHost { &self.from } else { &self.to };
                self.until_host(host, "unreachable")?;
                lab.power_on(host)?;
                Drover::of(lab).join(host)?;
            }
            Fault::ManagementCut => {
                self.until_host(&self.from, "unreachable")?;
                lab.link(&self.from, Network::Management, LinkState::Up)?;
            }
            Fault::StorageCut => {
                std::thread::sleep(STORAGE_OUT);
                lab.link(&self.from, Network::Storage, LinkState::Up)?;
            }
            _ => {}
        }
        for host in [&self.from, &self.to] {
            self.until_host(host, "online")?;
            // A host is online by its agent's word; libvirtd may still be on its way back, and
            // what follows asks it.
            self.world.until(&format!("libvirtd of {host}"), || {
                Ok(lab.virsh(host, &["list", "--name"]).is_ok())
            })?;
        }
        Ok(())
    }

    fn until_host(&self, host: &str, state: &str) -> anyhow::Result<()> {
        self.world.until(&format!("{host} {state}"), || {
            Ok(self.world.json(&["host", "show", host])?["state"] == state)
        })
    }

    /// Waits until nothing is left of the guest but on its home: no definition, no process,
    /// no image, no open port.
    pub(crate) fn nothing_left(&self, home: &str) -> anyhow::Result<()> {
        let lab = &self.world.lab;
        for host in lab.spec().host_names() {
            self.world.until(&format!("nothing left on {host}"), || {
                let open = open_ports(lab, &host)?;
                ensure!(open.is_empty(), "{host} listens on {open:?}");
                if host == home {
                    let job = lab.virsh(&host, &["domjobinfo", self.guest]);
                    // Where the guest is off there is no job to ask for.
                    ensure!(
                        job.is_err() || job.is_ok_and(|job| job.contains("None")),
                        "a job is left"
                    );
                    return Ok(true);
                }
                let defined = lab.virsh(&host, &["list", "--all", "--name"])?;
                let images = lab.exec(&host, &["ls", "-A", IMAGES])?;
                let left = processes(lab, &host, self.guest);
                ensure!(!defined.contains(self.guest), "it is defined on {host}");
                ensure!(!images.contains(self.guest), "images on {host}: {images}");
                ensure!(left.is_empty(), "processes on {host}: {left:?}");
                Ok(true)
            })?;
        }
        Ok(())
    }
}

/// What a host's libvirt says of a guest; none where it says nothing.
pub(crate) fn state(lab: &Lab, host: &str, guest: &str) -> Option<String> {
    let uri = lab.libvirt_uri(host);
    let asked = run(&format!("timeout {SAYS_WITHIN_S} virsh -q -c {uri} domstate {guest}"));
    asked.ok().map(|said| said.trim().to_owned())
}

/// A guest's QEMU processes in a host's namespaces, whatever libvirt knows of them.
pub(crate) fn processes(lab: &Lab, host: &str, guest: &str) -> Vec<i32> {
    let listed = run(&format!("ip netns pids {}-{host}", lab.spec().name)).unwrap_or_default();
    let name = format!("guest={guest},");
    let is_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("-uuid") && line.contains(&name)
    };
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_it).collect()
}

/// Migration ports that something listens on.
fn open_ports(lab: &Lab, host: &str) -> anyhow::Result<Vec<u16>> {
    let sockets = lab.exec(host, &["cat", "/proc/net/tcp", "/proc/net/tcp6"])?;
    let port = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let local = words.get(1)?.rsplit_once(':')?.1;
        let listens = words.get(3) == Some(&LISTENS);
        u16::from_str_radix(local, 16).ok().filter(|_| listens)
    };
    Ok(sockets.lines().filter_map(port).filter(|port| MIGRATION_PORTS.contains(port)).collect())
}

/// Looks for two running copies while a row lasts.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Watched>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Looks at all hosts.
    pub(crate) looks: u32,
    /// Moments at which two hosts said that they run the guest.
    pub(crate) doubles: Vec<String>,
}

impl Watch {
    pub(crate) fn begin(lab: &Lab, guest: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (lab, guest, ended) = (lab.clone(), guest.to_owned(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut watched = Watched::default();
            while !ended.load(Ordering::Relaxed) {
                watched.looks += 1;
                watched.doubles.extend(double(&lab, &guest));
                std::thread::sleep(LOOK);
            }
            watched
        });
        Self { over, thread }
    }

    pub(crate) fn end(self) -> anyhow::Result<Watched> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the watch panicked")
    }
}

/// Two hosts that run the guest, if there are. One after the other is asked, and the guest
/// may change over meanwhile: so the first is asked once more after the second.
fn double(lab: &Lab, guest: &str) -> Option<String> {
    let runs = |host: &String| state(lab, host, guest).is_some_and(|is| is == "running");
    let running: Vec<String> = lab.spec().host_names().into_iter().filter(runs).collect();
    let [first, .., last] = running.as_slice() else { return None };
    runs(first).then(|| format!("{first} and {last}"))
}
