//! A QEMU with a lab guest, and nothing else: no libvirt, no Drover.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::qmp::Monitor;
use crate::addresses::guest_address;
use crate::release::{Release, program};
use crate::tools::{output, wait_for};

/// The guest. There is one.
pub(super) const GUEST: &str = "vm1";
/// Where taps are joined.
pub(super) const BRIDGE: &str = "br0";
/// Memory of the guest: one block that begins at the guest's address 0.
const MEMORY: &str = "128M";
/// A move ends within so long.
const MOVED: Duration = Duration::from_secs(60);
/// QEMU is asked so often how far it is.
const ASKED: Duration = Duration::from_millis(20);
/// A program of a root starts within so long.
const STARTS: Duration = Duration::from_secs(30);

/// How moves are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes each second.
    pub(super) bandwidth: u64,
    pub(super) downtime: Duration,
}

/// A running QEMU. It ends with its owner.
pub(super) struct Machine {
    child: Child,
    monitor: Monitor,
    dir: PathBuf,
    tap: String,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = output(Command::new("ip").args(["link", "del", &self.tap]));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Machine {
    /// Starts a QEMU in a new directory of this one. It boots the guest, or waits for it.
    pub(super) fn start(
        release: Release,
        image: &Path,
        within: &Path,
        number: u64,
        waits: bool,
    ) -> anyhow::Result<Self> {
        let dir = within.join(number.to_string());
        std::fs::create_dir_all(&dir)?;
        let tap = format!("tap{number}");
        for line in [
            format!("tuntap add {tap} mode tap"),
            format!("link set {tap} master {BRIDGE}"),
            format!("link set {tap} up"),
        ] {
            output(Command::new("ip").args(line.split(' ')))?;
        }
        let mut command = program(release, "qemu-system-x86_64")?;
        command.args(words(&dir, image, &tap)?);
        if waits {
            command.args(["-S", "-incoming"]).arg(format!("unix:{}", entrance(&dir).display()));
        }
        let log = File::create(dir.join("log"))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start QEMU")?;
        let mut monitor = None;
        wait_for("QEMU's monitor", STARTS, || {
            monitor = Monitor::open(&dir.join("monitor")).ok();
            monitor.is_some() || child.try_wait().is_ok_and(|status| status.is_some())
        })?;
        let monitor = monitor.with_context(|| {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            format!("QEMU did not start: {}", log.trim())
        })?;
        Ok(Self { child, monitor, dir, tap })
    }

    /// Moves the guest to one that waits and leaves it paused there; how often the source took
    /// the dirty bits.
    pub(super) fn move_to(&mut self, target: &mut Self, limits: Limits) -> anyhow::Result<u64> {
        let limits = json!({
            "max-bandwidth": limits.bandwidth,
            "downtime-limit": u64::try_from(limits.downtime.as_millis())?,
        });
        self.monitor.ask("migrate-set-parameters", &limits)?;
        let to = json!({ "uri": format!("unix:{}", entrance(&target.dir).display()) });
        self.monitor.ask("migrate", &to)?;
        let begun = Instant::now();
        let syncs = loop {
            let told = self.monitor.ask("query-migrate", &json!({}))?;
            if told["status"] == "completed" {
                break told["ram"]["dirty-sync-count"].as_u64().context("no count of syncs")?;
            }
            ensure!(told["status"] != "failed" && begun.elapsed() < MOVED, "the move: {told}");
            std::thread::sleep(ASKED);
        };
        let mut status = String::new();
        wait_for("the target's end of the move", STARTS, || {
            let told = target.monitor.ask("query-status", &json!({}));
            status = told.map_or_else(
                |error| format!("{error:#}"),
                |told| told["status"].as_str().unwrap_or_default().to_owned(),
            );
            status != "inmigrate"
        })?;
        ensure!(status == "paused", "the target is `{status}`");
        Ok(syncs)
    }

    pub(super) fn go_on(&mut self) -> anyhow::Result<()> {
        self.monitor.ask("cont", &json!({})).map(drop)
    }

    /// The guest's memory as it is now.
    pub(super) fn memory(&self) -> anyhow::Result<File> {
        File::open(memory(&self.dir)).context("the guest's memory")
    }

    /// What the guest said on its console.
    pub(super) fn console(&self) -> String {
        let text = std::fs::read(self.dir.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn entrance(dir: &Path) -> PathBuf {
    dir.join("incoming")
}

fn memory(dir: &Path) -> PathBuf {
    dir.join("memory")
}

/// The lab's machine, with a memory that can be read from outside.
fn words(dir: &Path, image: &Path, tap: &str) -> anyhow::Result<Vec<String>> {
    let address = guest_address(GUEST).context("a guest has an address")?;
    let dir_shown = dir.display();
    let mut words: Vec<String> = format!(
        "-machine pc-q35-7.2,memory-backend=ram -accel tcg,tb-size=32 -cpu qemu64 -smp 1 \
         -m {MEMORY} -object memory-backend-file,id=ram,size={MEMORY},share=on,mem-path={} \
         -nodefaults -no-user-config -display none -no-reboot -serial file:{dir_shown}/console \
         -qmp unix:{dir_shown}/monitor,server=on,wait=off \
         -device pcie-root-port,id=p1,bus=pcie.0,chassis=1,addr=0x2 \
         -device pcie-root-port,id=p2,bus=pcie.0,chassis=2,addr=0x3 \
         -device pcie-root-port,id=p3,bus=pcie.0,chassis=3,addr=0x4 \
         -netdev tap,id=net,ifname={tap},script=no,downscript=no \
         -device virtio-net-pci,netdev=net,bus=p1,mac=52:54:00:88:00:01,romfile= \
         -object rng-random,id=random,filename=/dev/urandom \
         -device virtio-rng-pci,rng=random,bus=p2 \
         -device virtio-balloon-pci,bus=p3 \
         -device virtio-rng-pci,rng=random,bus=pcie.0,addr=0x10",
        memory(dir).display()
    )
    .split(' ')
    .map(str::to_owned)
    .collect();
    for (flag, file) in [("-kernel", "vmlinuz"), ("-initrd", "initramfs.gz")] {
        words.extend([flag.to_owned(), image.join(file).to_string_lossy().into_owned()]);
    }
    words.push("-append".to_owned());
    words.push(format!("console=ttyS0 quiet panic=-1 lab.name={GUEST} lab.address={address}/24"));
    Ok(words)
}
