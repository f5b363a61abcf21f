//! What a live move does to the memory of a guest whose processors QEMU emulates.
//!
//! Before 9.0 QEMU took the marks of written pages without telling its emulated processors, so
//! that what they wrote to such a page afterwards was not seen and not sent (upstream commit
//! 03bfc2188f, "physmem: Fix migration dirty bitmap coherency with TCG memory access"). Only
//! the QEMU that sends the memory counts. KVM keeps its own marks and is not concerned; a
//! guest that does not run writes nothing.

use drover_model::{Guest, GuestState, Host, RunningQemu};
use serde::{Deserialize, Serialize};

use crate::constraint::Constraint;
use crate::version::Version;

/// The check before a move is called as the placement constraint is.
pub const NAME: &str = Constraint::EmulatedMemory.as_str();

/// First version that sends all that an emulated guest writes.
const SENDS_ALL: Version = Version(9, 0, 0);

/// Who wants a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiative {
    /// Drover itself, by a rule or a policy: what may harm a guest is not done.
    #[default]
    Own,
    /// A person, who names the guest or its host: what may harm a guest is told.
    Request,
}

/// What is the matter with a live move, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) cause: String,
    pub(crate) cure: String,
}

/// Whether a live move of this guest loses a part of its memory.
///
/// The QEMU that runs it counts. Where its agent does not tell that one, it is taken to be the
/// one that is installed on its host; where neither is told, nothing is known against it.
pub(crate) fn loss(guest: &Guest, source: &Host) -> Option<Loss> {
    if guest.state != GuestState::Running || !guest.is_emulated() {
        return None;
    }
    let (host, installed) = (&source.name, source.capabilities.qemu.as_str());
    let runs_under = match &guest.qemu {
        Some(RunningQemu::Known { version }) if is_unsound(version) => format!("QEMU {version}"),
        Some(RunningQemu::Replaced) => {
            "a QEMU of unknown version, which was replaced since".to_owned()
        }
        None if is_unsound(installed) => format!("QEMU {installed}"),
        Some(RunningQemu::Known { .. }) | None => return None,
    };
    let (name, kind) = (&guest.name, &guest.virt_type);
    let cause = format!(
        "{name} is emulated (domain type `{kind}`) by {runs_under} on {host}, and before 9.0 \
         QEMU loses some of what such a guest writes to its memory during a live move"
    );
    let anew = if is_unsound(installed) || Version::read(installed).is_none() {
        format!("install QEMU 9.0 or newer on {host} (Debian 12 has it in bookworm-backports)")
    } else {
        format!("{host} has QEMU {installed} by now")
    };
    Some(Loss { cause, cure: format!("{anew}: shut the guest down and start it again; {COLD}") })
}

/// The other way.
const COLD: &str = "or shut it down and move it with `--mode cold`";

/// What to do, where neither guest nor host is at hand.
pub(crate) const CURE: &str = "install QEMU 9.0 or newer on its host (Debian 12 has it in \
     bookworm-backports), shut the guest down and start it again; or shut it down and move it \
     with `--mode cold`; a person who names the guest may move it live, at its risk";

fn is_unsound(version: &str) -> bool {
    Version::read(version).is_some_and(|version| version < SENDS_ALL)
}

#[cfg(test)]
mod tests {
    use drover_testkit::{guest, host};

    use super::*;

    fn known(version: &str) -> Option<RunningQemu> {
        Some(RunningQemu::Known { version: version.to_owned() })
    }

    #[test]
    fn the_qemu_that_runs_the_guest_counts_and_not_the_one_that_is_installed() {
        for (runs, installed, loses) in [
            (known("7.2.22"), "7.2.22", true),
            (known("7.2.22"), "10.0.13", true),
            (known("8.2.2"), "8.2.2", true),
            (known("8.2.91"), "9.0.0", true),
            (known("9.0.0-rc1"), "7.2.22", false),
            (known("9.0.0"), "9.0.0", false),
            (known("10.0.13"), "7.2.22", false),
            (known("10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"), "", false),
            (known("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"), "", true),
            (known("devel"), "7.2.22", false),
            (Some(RunningQemu::Replaced), "10.0.13", true),
            (None, "7.2.22", true),
            (None, "8.2.2", true),
            (None, "10.0.13", false),
            (None, "", false),
        ] {
            let mut source = host(1, 4.0, 16);
            source.capabilities.qemu = installed.to_owned();
            let emulated = |state, kind: &str| {
                let (qemu, virt_type) = (runs.clone(), kind.to_owned());
                Guest { state, qemu, virt_type, ..guest(1, 1, 512) }
            };
            let of = |state, kind| loss(&emulated(state, kind), &source).is_some();
            let what = format!("{runs:?} on a host with {installed:?}");
            assert_eq!(of(GuestState::Running, "qemu"), loses, "{what}");
            for (state, kind) in [
                (GuestState::Running, "kvm"),
                (GuestState::Running, ""),
                (GuestState::Paused, "qemu"),
                (GuestState::PausedByFault, "qemu"),
                (GuestState::ShutOff, "qemu"),
            ] {
                assert!(!of(state, kind), "{what}, {state:?} {kind}");
            }
        }
    }

    #[test]
    fn the_cure_is_what_is_left_to_do() {
        let running = Guest { virt_type: "qemu".to_owned(), ..guest(1, 1, 512) };
        let mut source = host(1, 4.0, 16);
        let told = loss(&running, &source).unwrap();
        assert!(told.cause.starts_with("vm1 ") && told.cause.contains("7.2.22 on h1"), "{told:?}");
        assert!(told.cure.contains("install QEMU 9.0"), "{told:?}");
        source.capabilities.qemu = "10.0.13".to_owned();
        let started_before = Guest { qemu: known("7.2.22"), ..running };
        let told = loss(&started_before, &source).unwrap();
        assert!(told.cure.contains("h1 has QEMU 10.0.13 by now"), "{told:?}");
        assert!(!told.cure.contains("install"), "{told:?}");
    }
}
