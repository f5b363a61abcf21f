//! What a guest finds when it checks its own memory. See `guest/memory.c`.

use std::fmt;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::lab::Lab;

/// What a guest has found since it booted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryCheck {
    /// The guest's process that checks lives. One that the kernel has ended has forgotten what it
    /// found, and the pages and the ring below say nothing.
    pub lives: bool,
    /// Pages of the working set that [`Lab::dirty`] asks for.
    pub dirtied: Pages,
    /// Pages that a process writes over and over, then leaves: [`Lab::watch`].
    pub own: Pages,
    /// Pages that the guest's kernel writes in the same way.
    pub kernel: Pages,
    /// A virtio ring that the guest knows to the last bit.
    pub ring: Ring,
    /// What the guest's kernel said.
    pub log: KernelLog,
}

/// Looks at pages, and what was wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Looks at a page.
    pub checked: u64,
    /// The page held what it had held before.
    pub stale: u64,
    /// The page held neither that nor what it had been given.
    pub torn: u64,
}

/// A virtio ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// Buffers given to the device; 0 where the guest has no such device.
    pub posted: u64,
    /// The ring did not hold what was posted, or the device used what was not.
    pub faults: u64,
}

/// What the guest's kernel said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelLog {
    /// Records that tell of broken memory: a BUG, an Oops, a broken virtqueue and the like.
    pub complaints: u64,
    /// Records that tell of time that passed. A guest that had to wait says so too.
    pub stalls: u64,
    /// The first complaint, or nothing.
    pub first: String,
}

impl MemoryCheck {
    /// Reads what `guestd check` prints.
    ///
    /// # Errors
    /// Where it printed something else.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).with_context(|| format!("the guest answered `{}`", text.trim()))
    }

    /// How much is wrong: pages, faults of the ring, complaints of the kernel, and a process that
    /// was ended.
    pub const fn faults(&self) -> u64 {
        self.dirtied.wrong()
            + self.own.wrong()
            + self.kernel.wrong()
            + self.ring.faults
            + self.log.complaints
            + if self.lives { 0 } else { 1 }
    }
}

impl Pages {
    const fn wrong(self) -> u64 {
        self.stale + self.torn
    }
}

impl fmt::Display for MemoryCheck {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.lives {
            writeln!(to, "the process that checks was ended")?;
        }
        for (name, pages) in [("dirtied", self.dirtied), ("own", self.own), ("kernel", self.kernel)]
        {
            let Pages { checked, stale, torn } = pages;
            writeln!(to, "{name:<8} {checked} pages checked, {stale} stale, {torn} torn")?;
        }
        writeln!(to, "ring     {} buffers, {} faults", self.ring.posted, self.ring.faults)?;
        let KernelLog { complaints, stalls, first } = &self.log;
        write!(to, "kernel's log: {complaints} complaints, {stalls} stalls")?;
        if first.is_empty() { Ok(()) } else { write!(to, "; first: {first}") }
    }
}

impl Lab {
    /// Lets a guest check all of its memory that it knows.
    ///
    /// # Errors
    /// Where the guest does not answer; with what its console tells, if it tells something.
    pub fn check(&self, guest: &str) -> anyhow::Result<MemoryCheck> {
        let answered = self.guest_exec(guest, CHECK);
        let told = answered.map_err(|error| match self.complaint_on_console(guest) {
            Some(complaint) => error.context(format!("on its console: {complaint}")),
            None => error,
        })?;
        MemoryCheck::parse(&told)
    }

    /// The first line on a guest's console that tells of broken memory, of all that was written
    /// there since its QEMU began. It tells also of a guest that is dead or has booted anew.
    pub fn complaint_on_console(&self, guest: &str) -> Option<String> {
        let host = self.host_of(guest).ok().flatten()?;
        let path = self.member_dir(&host).join("log/qemu").join(format!("{guest}-console.log"));
        let console = std::fs::read(path).ok()?;
        complaint(&String::from_utf8_lossy(&console)).map(str::to_owned)
    }

    /// Lets a guest write memory as a kernel does for so many percent of its vCPU, so that a
    /// move which loses writes loses some of these.
    ///
    /// # Errors
    /// Where the guest does not answer.
    pub fn watch(&self, guest: &str, percent: u8) -> anyhow::Result<()> {
        anyhow::ensure!(percent <= 100, "it is 0 to 100 percent");
        self.guest_exec(guest, &format!("echo {percent} > {WATCH}")).map(drop)
    }
}

/// The first line of a console that tells of broken memory: heard also of a guest whose network
/// is dead.
pub(crate) fn complaint(console: &str) -> Option<&str> {
    const COMPLAINTS: [&str; 6] =
        ["guestd: ", "BUG: ", "Oops", "protection fault", "is not a head", "Kernel panic"];
    let complains = |line: &&str| COMPLAINTS.iter().any(|words| line.contains(words));
    // A sound guest that had to wait for long says so.
    console.lines().filter(|line| !line.contains("lockup")).find(complains)
}

/// What is run in a guest to check its memory.
pub(crate) const CHECK: &str = "guestd check";
/// The guest's setting of [`Lab::watch`].
pub(crate) const WATCH: &str = "/run/watch";

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"{"lives":true,"dirtied":{"checked":3,"stale":0,"torn":0},
        "own":{"checked":5,"stale":0,"torn":0},"kernel":{"checked":2,"stale":0,"torn":0},
        "ring":{"posted":9,"faults":0},"log":{"complaints":0,"stalls":1,"first":""}}"#;

    #[test]
    fn everything_but_a_stall_is_a_fault() {
        assert_eq!(MemoryCheck::parse(SOUND).unwrap().faults(), 0);
        for (sound, wrong) in [
            (r#""lives":true"#, r#""lives":false"#),
            (r#"3,"stale":0"#, r#"3,"stale":1"#),
            (r#"5,"stale":0,"torn":0"#, r#"5,"stale":0,"torn":1"#),
            (r#"2,"stale":0"#, r#"2,"stale":1"#),
            (r#""faults":0"#, r#""faults":1"#),
            (r#""complaints":0"#, r#""complaints":1"#),
        ] {
            let text = SOUND.replace(sound, wrong);
            assert_eq!(MemoryCheck::parse(&text).unwrap().faults(), 1, "{text}");
        }
    }

    #[test]
    fn a_console_complains_of_memory_and_not_of_time() {
        let sound = "GUEST READY vm1\n[9.9] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!\n";
        assert_eq!(complaint(sound), None);
        for line in [
            "[9.7] virtio_net virtio0: output.0:id 10 is not a head!",
            "[9.7] BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "guestd: a page is wrong (431)",
        ] {
            assert_eq!(complaint(&format!("{sound}{line}\nmore")), Some(line));
        }
    }

    #[test]
    fn anything_else_is_no_check() {
        for text in ["", "sh: guestd: not found", "{}", &SOUND.replace("torn", "lost")] {
            assert!(MemoryCheck::parse(text).is_err(), "{text}");
        }
    }
}
