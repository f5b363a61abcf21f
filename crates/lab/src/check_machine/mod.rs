//! Whether QEMU's dirty tracking is sound on this machine: two bare QEMUs, one guest that is
//! moved to and fro between them under load, and its memory compared page by page while it is
//! stopped at both ends. A page that differs was lost by the move, whether or not the guest ever
//! stumbles over it.
//!
//! Everything runs in namespaces of its own and ends with them.

mod machine;
mod qmp;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use crate::addresses::guest_address;
use crate::check::{CHECK, MemoryCheck, WATCH, complaint};
use crate::guest::exec_by;
use crate::image::make_image;
use crate::probe::ProbeHandle;
use crate::release::Release;
use crate::tools::{output, wait_for};
use machine::{BRIDGE, GUEST, Limits, Machine};

const PAGE: usize = 4096;
/// Memory is read in pieces of so many bytes.
const PIECE: usize = 1 << 20;
/// A guest boots within so long, on a busy machine.
const BOOTS: Duration = Duration::from_secs(120);
/// A guest that has been moved answers within so long, or counts as broken.
const ANSWERS: Duration = Duration::from_secs(30);
/// An answer takes so long at the most.
const ANSWER: Duration = Duration::from_secs(10);
/// What a guest has found is asked for until so long after the move, and once at least.
const FINDS: Duration = Duration::from_secs(3);
/// And so often.
const ASKED: Duration = Duration::from_millis(300);
/// With these, moves need more than one pass after the bulk of memory: only then does a QEMU that
/// loses writes lose any.
const LIMITS: Limits = Limits { bandwidth: 64 << 20, downtime: Duration::from_millis(20) };
/// Passes from which on a loss can be expected.
const PASSES: u64 = 4;
/// The guest is asked something so often.
const PROBE_MS: u64 = 10;
/// The guest dirties so many MiB each second beside what it watches.
const DIRTY_MIB_PER_S: u32 = 2;
/// A directory that every machine has, and that the processes here have to themselves: the guest's
/// memory is kept in it.
const KEPT: &str = "/run";
/// The network of the guests, with the controller's address.
const NETWORK: &str = "10.88.0.100/24";

/// What is to be looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MachineCheck {
    /// The QEMU of this release is checked.
    pub release: Release,
    /// So many moves are made.
    pub moves: u64,
    /// The guest writes memory as a kernel does for so many percent of its vCPU.
    pub watch: u8,
    /// Directory of the guests' image.
    pub image: PathBuf,
}

/// What came of moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MovesReport {
    /// Moves.
    pub moves: u64,
    /// Moves of four passes and more.
    pub of_passes: u64,
    /// Moves that lost a page.
    pub lost: u64,
    /// Moves that lost a page, after which the guest found something wrong by itself.
    pub noticed: u64,
    /// Moves that lost a page, after which the guest did not answer and so told nothing.
    pub broken: u64,
    /// Moves that lost nothing, after which the guest found something wrong.
    pub false_alarms: u64,
    /// Pages that were lost.
    pub pages: u64,
}

/// What a guest says of itself after a move.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Well,
    /// What it told: asked, or on its console.
    Wrong(String),
    Silent,
}

impl MachineCheck {
    /// Makes the moves and prints each. Needs root.
    ///
    /// # Errors
    /// Where the moves cannot be made, or one of them lost memory.
    pub fn run(&self) -> anyhow::Result<()> {
        self.release.root()?;
        make_image(&self.image)?;
        let own = std::env::current_exe().context("where this program is")?;
        // As long as this program lives, its end of the pipe is open.
        let mut worker = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private"])
            .arg(own)
            .args(["check-machine-worker", &serde_json::to_string(self)?])
            .stdin(Stdio::piped())
            .spawn()
            .context("start unshare")?;
        let alive = worker.stdin.take();
        let status = worker.wait().context("wait for the moves")?;
        drop(alive);
        ensure!(status.success(), "live moves by this QEMU are not sound on this machine");
        Ok(())
    }

    /// The part that runs in namespaces of its own.
    ///
    /// # Errors
    /// See [`MachineCheck::run`].
    pub fn work(&self) -> anyhow::Result<()> {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(1);
        });
        rustix::mount::mount("tmpfs", KEPT, "tmpfs", MountFlags::NOSUID, None)
            .context("mount a tmpfs")?;
        for line in [
            "link set lo up".to_owned(),
            format!("link add {BRIDGE} type bridge"),
            format!("link set {BRIDGE} up"),
            format!("addr add {NETWORK} dev {BRIDGE}"),
        ] {
            output(Command::new("ip").args(line.split(' ')))?;
        }
        let mut made = Moves { check: self, number: 0, at: None };
        let mut report = MovesReport::default();
        for number in 1..=self.moves {
            let (syncs, lost, condition) = made.make_one()?;
            report.count(syncs, lost, &condition);
            println!("move {number}: {syncs} passes, {lost} pages lost; the guest {condition}");
        }
        println!("{report}");
        ensure!(report.is_sound(), "memory was lost");
        Ok(())
    }
}

impl MovesReport {
    fn count(&mut self, syncs: u64, lost: u64, condition: &Condition) {
        self.moves += 1;
        self.of_passes += u64::from(syncs >= PASSES);
        self.pages += lost;
        let of_loss = u64::from(lost > 0);
        self.lost += of_loss;
        match condition {
            Condition::Well => {}
            Condition::Wrong(_) => {
                self.noticed += of_loss;
                self.false_alarms += 1 - of_loss;
            }
            Condition::Silent => {
                self.broken += of_loss;
                self.false_alarms += 1 - of_loss;
            }
        }
    }

    /// Whether no move lost anything and no guest said so.
    pub const fn is_sound(&self) -> bool {
        self.lost == 0 && self.false_alarms == 0
    }
}

impl fmt::Display for MovesReport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{} moves, {} of them with {PASSES} passes and more: {} lost {} pages; of these the \
             guest noticed {} and broke in {}; {} alarms without a loss",
            self.moves,
            self.of_passes,
            self.lost,
            self.pages,
            self.noticed,
            self.broken,
            self.false_alarms
        )
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => to.write_str("finds nothing wrong"),
            Self::Wrong(told) => write!(to, "says: {told}"),
            Self::Silent => to.write_str("does not answer"),
        }
    }
}

/// Moves, one after the other.
struct Moves<'a> {
    check: &'a MachineCheck,
    /// Of the newest QEMU.
    number: u64,
    /// The QEMU with the guest, and the guest's client. None before the first move and after one
    /// that broke the guest.
    at: Option<(Machine, ProbeHandle)>,
}

impl Moves<'_> {
    /// Passes, lost pages, and how the guest is.
    fn make_one(&mut self) -> anyhow::Result<(u64, u64, Condition)> {
        let (mut source, client) = match self.at.take() {
            Some(at) => at,
            None => self.boot()?,
        };
        let mut target = self.start(true)?;
        let syncs = source.move_to(&mut target, LIMITS)?;
        let lost = count_different(source.memory()?, target.memory()?)?;
        target.go_on()?;
        drop(source);
        let condition = self.condition(&target);
        if lost == 0 && condition == Condition::Well {
            self.at = Some((target, client));
        }
        Ok((syncs, lost, condition))
    }

    fn start(&mut self, waits: bool) -> anyhow::Result<Machine> {
        self.number += 1;
        let MachineCheck { release, image, .. } = self.check;
        Machine::start(*release, image, Path::new(KEPT), self.number, waits)
    }

    fn boot(&mut self) -> anyhow::Result<(Machine, ProbeHandle)> {
        let machine = self.start(false)?;
        wait_for("the guest", BOOTS, || ask("cat /run/beat", ANSWER).is_ok())
            .with_context(|| format!("on its console: {}", machine.console()))?;
        let watch = self.check.watch;
        ask(&format!("echo {DIRTY_MIB_PER_S} 16 > /run/dirty; echo {watch} > {WATCH}"), ANSWER)?;
        let mut client = Command::new(std::env::current_exe()?);
        let address = guest_address(GUEST).context("a guest has an address")?;
        client.args(["probe-worker", "--address", &address]);
        client.args(["--interval-ms", &PROBE_MS.to_string()]);
        Ok((machine, ProbeHandle::start(client)?))
    }

    /// Asks the guest until it finds something, for as long as it may take to.
    fn condition(&self, machine: &Machine) -> Condition {
        let begun = Instant::now();
        let mut answered = false;
        while begun.elapsed() < if answered { FINDS } else { ANSWERS } {
            if let Ok(found) = ask(CHECK, ANSWER).and_then(|text| MemoryCheck::parse(&text)) {
                answered = true;
                if found.faults() > 0 {
                    return Condition::Wrong(found.to_string().replace('\n', "; "));
                }
            }
            std::thread::sleep(ASKED);
        }
        if answered {
            return Condition::Well;
        }
        match complaint(&machine.console()) {
            Some(complaint) => Condition::Wrong(complaint.to_owned()),
            None => Condition::Silent,
        }
    }
}

fn ask(line: &str, limit: Duration) -> anyhow::Result<String> {
    exec_by(Command::new("curl"), GUEST, line, limit)
}

/// How many pages of two memories differ.
fn count_different(
    mut one: impl std::io::Read,
    mut other: impl std::io::Read,
) -> anyhow::Result<u64> {
    let mut different = 0;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        for (memory, piece) in
            [(&mut one as &mut dyn std::io::Read, &mut left), (&mut other, &mut right)]
        {
            piece.clear();
            memory.take(PIECE as u64).read_to_end(piece).context("read a memory")?;
        }
        ensure!(left.len() == right.len(), "the memories have different lengths");
        if left.is_empty() {
            return Ok(different);
        }
        let pages = left.chunks(PAGE).zip(right.chunks(PAGE));
        different += pages.filter(|(left, right)| left != right).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_that_differs_is_counted_once() {
        let source = vec![7; PIECE + 3 * PAGE];
        let mut target = source.clone();
        assert_eq!(count_different(&source[..], &target[..]).unwrap(), 0);
        for at in [0, 1, PAGE - 1, PAGE, PIECE - 1, PIECE + 3 * PAGE - 1] {
            target[at] = 8;
        }
        assert_eq!(count_different(&source[..], &target[..]).unwrap(), 4);
        assert!(count_different(&source[..], &target[PAGE..]).is_err());
    }

    #[test]
    fn a_report_is_sound_without_losses_and_alarms() {
        let of = |lost, condition: &Condition| {
            let mut report = MovesReport::default();
            report.count(PASSES, lost, condition);
            report
        };
        let wrong = Condition::Wrong(String::new());
        assert!(of(0, &Condition::Well).is_sound());
        assert_eq!(of(0, &wrong).false_alarms, 1);
        assert_eq!(of(0, &Condition::Silent).false_alarms, 1);
        assert_eq!((of(3, &wrong).noticed, of(3, &Condition::Silent).broken), (1, 1));
        for unsound in [of(0, &wrong), of(3, &wrong), of(3, &Condition::Well)] {
            assert!(!unsound.is_sound(), "{unsound}");
        }
    }
}
