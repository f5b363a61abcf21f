//! QEMU processes of guests, seen in /proc.

use std::path::PathBuf;
use std::time::Duration;

use drover_model::GuestId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

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
}

impl Processes {
    /// Those in the PID namespace of a process.
    pub(crate) fn in_namespace_of(pid: u32) -> std::io::Result<Self> {
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid"))?;
        Ok(Self { namespace: Some(namespace) })
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

    fn counts(&self, pid: i32) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| {
            std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|link| link == *namespace)
        })
    }

    /// Blocks until no QEMU process of the guest is left; whether there was one. Reacts to
    /// an exit at once.
    pub(crate) fn wait_until_gone(&self, guest: GuestId) -> std::io::Result<bool> {
        let mut seen = false;
        loop {
            let processes = self.qemu_of(guest)?;
            if processes.is_empty() {
                return Ok(seen);
            }
            seen = true;
            for process in processes {
                wait_for_exit(process.pid)?;
            }
        }
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

fn wait_for_exit(pid: i32) -> std::io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
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
        match poll(&mut waited, None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
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
    }

    #[test]
    fn a_guest_without_a_process_is_gone_at_once() {
        let own = Processes::in_namespace_of(std::process::id()).unwrap();
        for processes in [own, Processes::default()] {
            assert!(!processes.wait_until_gone(GuestId::from_u128(0xdead)).unwrap());
        }
    }
}
