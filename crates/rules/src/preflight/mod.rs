//! What speaks against a move before it begins: one check per file, each with its cause and
//! its cure.
//!
//! Placement constraints ([`crate::constraint`]) judge from the cluster's picture and are
//! taken over with their words. The checks here judge from what source and target told when
//! they were asked about this one move. Every finding is told, not the first.

mod clock;
mod copied_disk;
mod cpu;
mod cures;
mod device;
mod disk_cache;
mod emulation;
mod host_uuid;
mod hugepages;
mod kernel;
mod libvirt_version;
mod microcode;
mod paths;
mod ports;
mod qemu_version;
mod shareable_disk;
mod silence;

#[cfg(test)]
mod fixture;

use drover_model::{
    DiskCopy, Guest, GuestInspection, Host, IncomingCheck, MigrationMode, MigrationSettings,
    PortProbe,
};
use serde::{Deserialize, Serialize};

use crate::constraint::Constraint;
use crate::{EMULATED_MEMORY, Initiative, Refusal};

pub use copied_disk::places;
pub use cures::of_constraint as cure_of;
pub use paths::paths;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The move is refused.
    Blocks,
    /// The move may go wrong, or the guest may notice it.
    Warns,
}

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check, or the placement constraint.
    pub check: String,
    /// Its weight.
    pub severity: Severity,
    /// What is the matter.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
    /// It is so for every target: what was found is the guest's own, or its host's.
    #[serde(default)]
    pub everywhere: bool,
}

/// What somebody told who was asked.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a, T: ?Sized> {
    /// This.
    This(&'a T),
    /// Nothing, and why.
    Nothing(&'a str),
    /// Nothing: its agent is of an older version, this one, that knows no questions.
    Unable(&'a str),
    /// It was not asked: this move does not need it.
    NotAsked,
}

impl<'a, T: ?Sized> Told<'a, T> {
    const fn this(&self) -> Option<&'a T> {
        match self {
            Self::This(this) => Some(*this),
            Self::Nothing(_) | Self::Unable(_) | Self::NotAsked => None,
        }
    }
}

/// All that is known of one move of one guest.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The guest as it is recorded.
    pub guest: &'a Guest,
    /// Where it is.
    pub source: &'a Host,
    /// Where it would go.
    pub target: &'a Host,
    /// Who wants it.
    pub initiative: Initiative,
    /// How it would go.
    pub settings: &'a MigrationSettings,
    /// The disks that would go with it.
    pub copies: &'a [DiskCopy],
    /// What placement constraints say.
    pub refusals: &'a [Refusal],
    /// What the source told of the guest.
    pub inspection: Told<'a, GuestInspection>,
    /// What the target told.
    pub incoming: Told<'a, IncomingCheck>,
    /// What came of the source's connections to the target.
    pub ports: Told<'a, [PortProbe]>,
    /// How far the target's clock is ahead of the source's, milliseconds.
    pub skew_ms: Option<i64>,
}

impl Facts<'_> {
    /// The guest's memory is sent while QEMU runs on both hosts.
    fn is_live(&self) -> bool {
        self.settings.mode == MigrationMode::Live
    }
}

/// A finding without the name of its check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    severity: Severity,
    cause: String,
    cure: String,
    everywhere: bool,
}

impl Trouble {
    fn blocks(cause: impl Into<String>, cure: impl Into<String>) -> Self {
        let (cause, cure) = (cause.into(), cure.into());
        Self { severity: Severity::Blocks, cause, cure, everywhere: false }
    }

    fn warns(cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Warns, ..Self::blocks(cause, cure) }
    }

    /// No other target would change it.
    fn everywhere(self) -> Self {
        Self { everywhere: true, ..self }
    }
}

type Check = fn(&Facts<'_>) -> Vec<Trouble>;

const CHECKS: &[(&str, Check)] = &[
    (ANSWER, silence::check),
    ("host-uuid", host_uuid::check),
    ("cpu", cpu::check),
    ("microcode", microcode::check),
    ("kernel", kernel::check),
    ("qemu-version", qemu_version::check),
    ("libvirt-version", libvirt_version::check),
    (EMULATED_MEMORY, emulation::check),
    ("device", device::check),
    ("shareable-disk", shareable_disk::check),
    ("disk-cache", disk_cache::check),
    ("path", paths::check),
    (COPIED_DISK, copied_disk::check),
    ("hugepages", hugepages::check),
    ("port", ports::check),
    ("clock", clock::check),
];

/// The check whether those who were asked have answered: it may pass by itself.
pub const ANSWER: &str = "answer";

/// The check of the place where a copied disk is to lie.
pub const COPIED_DISK: &str = "copied-disk";

/// Everything that was found, what blocks first; empty when nothing speaks against the move.
pub fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = facts
        .refusals
        .iter()
        .filter(|refusal| !is_superseded(refusal, facts))
        .map(|refusal| Finding {
            check: refusal.constraint.as_str().to_owned(),
            severity: Severity::Blocks,
            cause: refusal.reason.clone(),
            cure: cures::of_constraint(refusal.constraint).to_owned(),
            everywhere: false,
        })
        .collect();
    // Where the guest is already there is nothing else to find.
    let checks = if facts.source.id == facts.target.id { &[][..] } else { CHECKS };
    for (name, check) in checks {
        found.extend(check(facts).into_iter().map(|trouble| Finding {
            check: (*name).to_owned(),
            severity: trouble.severity,
            cause: trouble.cause,
            cure: trouble.cure,
            everywhere: trouble.everywhere,
        }));
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

/// Whether nothing of it blocks.
pub fn is_clear(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity != Severity::Blocks)
}

/// A refusal that a check here says better, or that this kind of move is not bound by.
fn is_superseded(refusal: &Refusal, facts: &Facts<'_>) -> bool {
    match refusal.constraint {
        // It counts devices, and a check here names them.
        Constraint::Device => facts.inspection.this().is_some_and(|found| !found.ties.is_empty()),
        // A guest that is off loads nothing and is not measured.
        Constraint::GuestState | Constraint::FreshSamples | Constraint::Threshold => {
            facts.settings.mode == MigrationMode::Cold && !facts.guest.state.is_active()
                || facts.settings.mode == MigrationMode::Rescue
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use drover_model::{GuestState, TyingDevice};

    use super::fixture::Case;
    use super::*;

    #[test]
    fn two_hosts_that_are_alike_take_each_others_guests() {
        assert_eq!(findings(&Case::new().facts()), []);
    }

    #[test]
    fn everything_is_told_and_what_blocks_comes_first() {
        let mut case = Case::new();
        case.refuse(Constraint::Memory, "it needs 9 GiB");
        case.target.capabilities.kernel = "6.12.0".to_owned();
        case.skew_ms = Some(-60_000);
        case.guest.disks[0].shareable = true;
        let found = findings(&case.facts());
        let told: Vec<&str> = found.iter().map(|finding| finding.check.as_str()).collect();
        assert_eq!(told, ["memory", "shareable-disk", "clock", "kernel"]);
        assert!(!is_clear(&found) && is_clear(&found[3..]));
        assert!(found.iter().all(|f| !f.cause.is_empty() && !f.cure.is_empty()), "{found:?}");
    }

    #[test]
    fn what_is_the_guests_own_is_told_apart_from_what_is_the_targets() {
        let mut case = Case::new();
        case.guest.disks[0].shareable = true;
        case.inspection.ties = vec![TyingDevice::HostUsb { name: "1:2".to_owned() }];
        case.incoming.missing_paths = vec!["/srv/shared/vm1.img".to_owned()];
        case.inspection.cpu_features.push("invtsc".to_owned());
        let found = findings(&case.facts());
        let own = |name: &str| found.iter().find(|one| one.check == name).unwrap().everywhere;
        assert!(own("shareable-disk") && own("device") && own("cpu"), "{found:?}");
        assert!(!own("path"), "{found:?}");
    }

    #[test]
    fn a_device_that_is_named_is_not_counted_as_well() {
        let mut case = Case::new();
        case.refuse(Constraint::Device, "it has 1 host device(s) passed through");
        assert_eq!(findings(&case.facts()).len(), 1);
        case.inspection.ties = vec![TyingDevice::HostUsb { name: "1:2".to_owned() }];
        let found = findings(&case.facts());
        assert!(found.len() == 1 && found[0].cause.contains("1:2"), "{found:?}");
    }

    #[test]
    fn a_guest_that_is_off_may_go_cold() {
        let mut case = Case::new();
        case.refuse(Constraint::GuestState, "it is shut-off");
        case.refuse(Constraint::FreshSamples, "no samples in the window");
        case.guest.state = GuestState::ShutOff;
        assert!(!is_clear(&findings(&case.facts())));
        case.settings.mode = MigrationMode::Cold;
        assert_eq!(findings(&case.facts()), []);
        case.guest.state = GuestState::Running;
        assert!(!is_clear(&findings(&case.facts())), "a running guest does not go cold");
    }
}
