//! QEMU processes of guests, seen in /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use drover_model::{Guest, GuestId, RunningQemu};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::emulator::Emulators;

/// What a QEMU process was started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QemuProcess {
    /// Its id.
    pub(crate) pid: i32,
    /// It was started to receive a migration.
    pub(crate) incoming: bool,
}

/// Which processes count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes {
    /// As the link in /proc shows it; none for all that are visible.
    namespace: Option<PathBuf>,
    /// The files that they were started from.
    emulators: Emulators,
}

impl Processes {
    /// Those in the PID namespace of a process.
    pub(crate) fn in_namespace_of(pid: u32) -> std::io::Result<Self> {
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid"))?;
        Ok(Self { namespace: Some(namespace), ..Self::default() })
    }

    /// The QEMU processes of a guest. Zombies have no command line and do not count.
    pub(crate) fn qemu_of(&self, guest: GuestId) -> std::io::Result<Vec<QemuProcess>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // Of a process that ends meanwhile nothing can be read.
            let Ok(cmdline) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
            if let Some(incoming) = is_qemu_of(&cmdline, guest)
                && self.counts(pid)
            {
                found.push(QemuProcess { pid, incoming });
            }
        }
        Ok(found)
    }

    /// Fills in which QEMU runs each guest that is active.
    pub(crate) fn fill_in(&self, guests: &mut [Guest]) {
        if !guests.iter().any(|guest| guest.state.is_active()) {
            return;
        }
        // Where processes cannot be seen nothing is told of them.
        let running = self.running().unwrap_or_default();
        for guest in guests.iter_mut().filter(|guest| guest.state.is_active()) {
            guest.qemu = running.get(&guest.id).cloned();
        }
    }

    /// The QEMU of every guest that has a process.
    fn running(&self) -> std::io::Result<BTreeMap<GuestId, RunningQemu>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(cmdline) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
            if let Some(guest) = guest_of(&cmdline)
                && self.counts(pid)
                && let Some(qemu) = self.emulators.of_process(pid)
            {
                found.insert(guest, qemu);
            }
        }
        Ok(found)
    }

    fn counts(&self, pid: i32) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| {
            std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|link| link == *namespace)
        })
    }

    /// Blocks until no QEMU process of the guest is left that can run; whether there was
    /// one. Reacts to an end, and to a wait that nobody wants any more, within [`LOOK`].
    pub(crate) fn wait_until_gone(
        &self,
        guest: GuestId,
        is_wanted: &dyn Fn() -> bool,
    ) -> std::io::Result<bool> {
        let mut seen = false;
        while is_wanted() {
            let processes = self.qemu_of(guest)?;
            if processes.is_empty() {
                return Ok(seen);
            }
            seen = true;
            for process in processes {
                wait_for_exit(process.pid, is_wanted)?;
            }
        }
        // Nobody hears it.
        Ok(seen)
    }
}

/// Whether a command line is QEMU's for this guest, and if so whether it waits for an
/// incoming migration.
fn is_qemu_of(cmdline: &[u8], guest: GuestId) -> Option<bool> {
    let uuid = guest.to_string();
    let args: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
    let has = |name: &[u8], value: Option<&[u8]>| {
        args.iter().enumerate().any(|(index, arg)| {
            *arg == name && value.is_none_or(|value| args.get(index + 1) == Some(&value))
        })
    };
    has(b"-uuid", Some(uuid.as_bytes())).then(|| has(b"-incoming", None))
}

/// Whose QEMU's command line it is.
fn guest_of(cmdline: &[u8]) -> Option<GuestId> {
    let mut args = cmdline.split(|byte| *byte == 0);
    args.find(|arg| *arg == b"-uuid")?;
    std::str::from_utf8(args.next()?).ok()?.parse().ok()
}

/// How often a process is asked whether it still can run.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Blocks until nothing of the process can run any more, or nobody wants to know. That is
/// earlier than its end: to give back the memory of a large guest takes the kernel seconds.
fn wait_for_exit(pid: i32, is_wanted: &dyn Fn() -> bool) -> std::io::Result<()> {
    let Some(process) = Pid::from_raw(pid) else { return Ok(()) };
    let handle = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        // A kernel without pidfd (before 5.3): look again in a moment.
        Err(_) => {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(());
        }
    };
    let mut waited = [PollFd::new(&handle, PollFlags::IN)];
    loop {
        match poll(&mut waited, Some(&LOOK)) {
            Ok(0) if is_wanted() && !cannot_run(pid) => {}
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether every thread of a process is past its last instruction outside the kernel.
///
/// Looked at twice: a thread that one look missed was made by one that could still run,
/// and is there in the second.
fn cannot_run(pid: i32) -> bool {
    // Asked hundreds of times a second for as long as a migration takes: where the process's
    // first thread goes on, the others are of no interest.
    let first = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    if first.is_ok_and(|stat| is_ending(&stat) == Some(false)) {
        return false;
    }
    let Some(first) = ending_threads(pid) else { return false };
    ending_threads(pid).is_some_and(|second| second.is_subset(&first))
}

/// All threads, if each of them is ending.
fn ending_threads(pid: i32) -> Option<BTreeSet<OsString>> {
    let tasks = format!("/proc/{pid}/task");
    let entries = match std::fs::read_dir(&tasks) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Some(BTreeSet::new()),
        Err(_) => return None,
    };
    let mut threads = BTreeSet::new();
    for entry in entries {
        let entry = entry.ok()?;
        match std::fs::read_to_string(entry.path().join("stat")) {
            Ok(stat) if is_ending(&stat)? => {
                threads.insert(entry.file_name());
            }
            Ok(_) => return None,
            Err(error) if is_gone(&error) => {}
            Err(_) => return None,
        }
    }
    Some(threads)
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Whether the flags in a `stat` line of /proc (proc(5), field 9) say that the thread is
/// ending: `PF_EXITING` of include/linux/sched.h, set as the first thing of its end.
fn is_ending(stat: &str) -> Option<bool> {
    const PF_EXITING: u32 = 0x4;
    // The name, field 2, is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let flags: u32 = rest.split_whitespace().nth(6)?.parse().ok()?;
    Some(flags & PF_EXITING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_told_by_its_uuid() {
        let guest: GuestId = "11111111-2222-4333-8444-000000000011".parse().unwrap();
        let line = |extra: &str| {
            format!(
                "/usr/bin/qemu-system-x86_64\0-name\0guest=vm1\0-uuid\0{guest}\0-no-user-config\0{extra}"
            )
        };
        assert_eq!(is_qemu_of(line("").as_bytes(), guest), Some(false));
        assert_eq!(is_qemu_of(line("-incoming\0defer\0").as_bytes(), guest), Some(true));
        assert_eq!(is_qemu_of(line("").as_bytes(), GuestId::from_u128(5)), None);
        assert_eq!(is_qemu_of(b"", guest), None);
        assert_eq!(guest_of(line("").as_bytes()), Some(guest));
        for other in [&b""[..], b"-uuid", b"-uuid\0none\0", b"qemu\0-name\0x\0"] {
            assert_eq!(guest_of(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_thread_that_is_ending_is_told_by_its_flags() {
        let running = "7 (CPU 0/KVM) x) S 1 7 7 0 -1 4194368 10 0 0 0 1 2 0 0 20 0 5 0 9";
        assert_eq!(is_ending(running), Some(false));
        assert_eq!(is_ending(&running.replace("4194368", "4194372")), Some(true));
        assert_eq!(is_ending("7 (x) S 1"), None);
        assert_eq!(is_ending(""), None);
    }

    #[test]
    fn a_process_can_run_until_it_is_killed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!cannot_run(pid));
        assert!(!cannot_run(i32::try_from(std::process::id()).unwrap()), "several threads");
        child.kill().unwrap();
        // It is not reaped here: a zombie cannot run.
        wait_for_exit(pid, &|| true).unwrap();
        assert!(cannot_run(pid));
        child.wait().unwrap();
        assert!(cannot_run(pid), "gone");
    }

    #[test]
    fn a_guest_without_a_process_is_gone_at_once() {
        let own = Processes::in_namespace_of(std::process::id()).unwrap();
        for processes in [own, Processes::default()] {
            assert!(!processes.wait_until_gone(GuestId::from_u128(0xdead), &|| true).unwrap());
        }
    }

    #[test]
    fn a_wait_that_nobody_wants_ends_while_the_process_runs() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let looks = std::cell::Cell::new(3);
        wait_for_exit(pid, &|| looks.replace(looks.get() - 1) > 0).unwrap();
        assert!(!cannot_run(pid), "it runs on");
    }
}
