//! The lab's guests: those that come with it, and those that are added.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::addresses::number_of;
use crate::domain_xml::{Memory, domain_xml};
use crate::lab::{CTL, Lab};
use crate::storage::{GuestDisk, GuestLease, GuestStorage, LOCKSPACE, Locks};
use crate::tools::{wait_for, write};
use crate::{MAX_GUESTS, guest, sanlock};

/// Guests answer within so long, each more guest adding its boot under emulation.
const GUESTS_UP: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));
/// Size of a guest's disk: the beat at its begin is all that it writes by itself.
const DISK_BYTES: u64 = 32 << 20;

impl Lab {
    /// Defines a guest that the lab does not bring up itself, `vm` and a number, and starts
    /// it on a host, with a disk as the lab's own guests have.
    pub fn start_guest(&self, guest: &str, host: &str) -> anyhow::Result<()> {
        let storage = self.spec().storage;
        self.start_guest_with(guest, host, storage.disk, storage.lease)
    }

    /// Defines a guest with this disk and lease and starts it on a host.
    pub fn start_guest_with(
        &self,
        guest: &str,
        host: &str,
        disk: GuestDisk,
        lease: GuestLease,
    ) -> anyhow::Result<()> {
        self.define_guest_with(guest, host, disk, lease)?;
        self.virsh(host, &["start", guest]).map(drop)
    }

    /// Defines a guest and starts it paused: it takes no CPU and hardly any memory.
    pub fn start_paused(&self, guest: &str, host: &str) -> anyhow::Result<()> {
        let storage = self.spec().storage;
        self.define_guest_with(guest, host, storage.disk, storage.lease)?;
        self.virsh(host, &["start", "--paused", guest]).map(drop)
    }

    /// Defines a guest with this disk and lease on a host, with all that they need, and
    /// leaves it off.
    pub fn define_guest_with(
        &self,
        guest: &str,
        host: &str,
        disk: GuestDisk,
        lease: GuestLease,
    ) -> anyhow::Result<()> {
        let number = number_of(guest).filter(|number| (1..=MAX_GUESTS).contains(number));
        ensure!(
            guest.starts_with("vm") && number.is_some(),
            "a guest is called vm and a number up to {MAX_GUESTS}"
        );
        let storage = GuestStorage { disk, lease };
        match disk {
            GuestDisk::Shared => sparse(&self.shared().join(format!("{guest}.img")))?,
            GuestDisk::Local => {
                sparse(&self.member_dir(host).join("lib/images").join(format!("{guest}.img")))?;
            }
            GuestDisk::Iscsi => self.export_lun(guest)?,
        }
        if lease == GuestLease::Explicit {
            self.make_lease(guest, host)?;
        }
        write(&self.kept_guest(guest), &serde_json::to_string(&storage)?)?;
        let spec = self.spec();
        let memory =
            Memory { mib: spec.guest_memory_mib, is_odd: spec.memory.is_odd(spec.releases) };
        let xml = domain_xml(guest, memory, storage, spec.locks)
            .context("a guest is called vm and a number")?;
        let path = self.member_dir(host).join(format!("{guest}.xml"));
        write(&path, &xml)?;
        self.virsh(host, &["define", &path.to_string_lossy()]).map(drop)
    }

    /// Waits until a guest has booted and answers.
    pub fn wait_for_guest(&self, guest: &str) -> anyhow::Result<()> {
        let (first, each) = GUESTS_UP;
        let limit = first + each * u32::from(self.spec().guests.max(1));
        let ready = || {
            guest::answers(&self.namespace(CTL), guest)
                && self.guest_exec(guest, "cat /run/beat").is_ok()
        };
        wait_for(&format!("guest {guest}"), limit, ready)
    }

    /// Fails unless the lab has or was given a guest of this name.
    pub fn known_guest(&self, guest: &str) -> anyhow::Result<()> {
        let own = self.spec().guest_names();
        let known = own.iter().any(|name| name == guest) || self.kept_guest(guest).exists();
        ensure!(known, "there is no guest `{guest}`; the lab has {}", own.join(", "));
        Ok(())
    }

    /// A file that the lab writes down a guest's disk and lease in.
    fn kept_guest(&self, guest: &str) -> PathBuf {
        self.spec().dir.join("guests").join(format!("{guest}.json"))
    }

    /// Makes what a lease is kept in. virtlockd locks an empty file; sanlock needs its
    /// blocks laid out.
    fn make_lease(&self, guest: &str, host: &str) -> anyhow::Result<()> {
        match self.spec().locks {
            Locks::None => {
                bail!("a lease needs a lock daemon: this lab was brought up with `--locks none`")
            }
            Locks::Lockd => {
                let path = self.shared().join(LOCKSPACE).join(guest);
                File::options()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .map(drop)
                    .with_context(|| format!("create {}", path.display()))
            }
            Locks::Sanlock => sanlock::make_lease(self, host, guest),
        }
    }

    pub(crate) fn shared(&self) -> PathBuf {
        self.spec().dir.join("shared")
    }

    pub(crate) fn start_guests(&self) -> anyhow::Result<()> {
        let hosts = self.spec().host_names();
        let status = self.status()?;
        let active = |name: &String| status.iter().any(|host| host.guests.contains(name));
        for (index, name) in self.spec().guest_names().iter().enumerate() {
            if active(name) {
                continue;
            }
            let host = &hosts[index % hosts.len()];
            // A host that is off may not have been the guest's only home: the lab starts a
            // guest only while it can see every host.
            ensure!(
                status.iter().all(|host| host.on),
                "guest {name} is not running and a host is off: switch it on first"
            );
            // Where it is defined already it starts again: a second definition elsewhere
            // would be a second guest.
            let home = hosts.iter().find(|host| {
                self.virsh(host, &["list", "--all", "--name"])
                    .is_ok_and(|listed| listed.split_whitespace().any(|one| one == name))
            });
            match home {
                Some(home) => self.virsh(home, &["start", name]).map(drop)?,
                None => self.start_guest(name, host)?,
            }
        }
        for name in self.spec().guest_names() {
            self.wait_for_guest(&name)?;
        }
        Ok(())
    }
}

/// An empty disk, unless it is there.
pub(crate) fn sparse(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        file.set_len(DISK_BYTES)?;
    }
    Ok(())
}
