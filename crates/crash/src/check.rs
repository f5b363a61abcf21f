//! What must hold: at every event, and when faults have ceased.

use std::collections::BTreeMap;

use drover_lifecycle::MigrationState;

use crate::controller::{host_ix, owes};
use crate::host::Cpus;
use crate::world::{HOSTS, World};

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// `no_double_run`: two copies of the guest ran at the same time.
    DoubleRun,
    /// `no_double_run`: a copy ran whose memory does not know what another one had written.
    StaleRun,
    /// `no_double_run`: a second copy was asked for, and nothing but the guest's lease held it.
    OnlyLeaseHeld,
    /// `owner_agrees`: a copy ran on another host than the owner record says.
    OwnerDisagrees,
    /// `owner_agrees`: the record was changed by another hand.
    OwnerOvertaken,
    /// `converges_when_quiet`: an operation never ended, or still owes a clean-up.
    StuckOperation,
    /// `converges_when_quiet`: no copy runs, and no fault has killed one.
    LostWithoutCause,
    /// `converges_when_quiet`: a process of the guest is left that does not run.
    ProcessLeft,
    /// `converges_when_quiet`: the definition is not on the owner's host alone.
    DefinitionAstray,
    /// `converges_when_quiet`: a job, a connection, or an agent's task is left.
    JobLeft,
    /// A copied disk was removed, or written to from outside, while a process of the guest used
    /// it.
    DiskInUse,
    /// A disk was removed that had what no other one has, or whose host is the guest's owner.
    DiskLost,
    /// `converges_when_quiet`: images are not on the owner's host alone.
    DiskAstray,
    /// A failed operation does not say why.
    SilentFailure,
    /// A failed operation says of the guest what is not so.
    FalseReport,
}

/// How an operation says what to do about half of a guest; `drover-agent` says the same.
pub(crate) const WHAT_TO_DO: &str = "`virsh destroy` it here";

/// Each broken promise with the first account of it.
pub(crate) type Violations = BTreeMap<Violation, String>;

impl World {
    pub(crate) fn violated(&mut self, violation: Violation, account: impl FnOnce(&Self) -> String) {
        if self.violations.contains_key(&violation) {
            return;
        }
        let account = account(self);
        self.say(|| format!("CHECK FAILS: {violation:?}: {account}"));
        self.violations.insert(violation, account);
    }

    pub(crate) fn violated_by_other_hand(&mut self) {
        self.violated(Violation::OwnerOvertaken, |_| "the epoch was not the expected one".into());
    }

    fn running(&self) -> Vec<usize> {
        (0..HOSTS).filter(|host| self.hosts[*host].domain.runs()).collect()
    }

    fn living(&self) -> Vec<usize> {
        (0..HOSTS).filter(|host| self.hosts[*host].domain.lives()).collect()
    }

    /// Half of a guest is left where the operation says so, and what to do.
    fn is_told(&self, host: usize) -> bool {
        let half = self.hosts[host].domain.qemu.is_some_and(|qemu| {
            qemu.cpus == Cpus::PostCopyFailed || self.hosts[host].domain.is_hopeless()
        });
        let newest = self.controller.operations.last();
        let told = newest.is_some_and(|migration| match &migration.state {
            MigrationState::Failed { cause, guest_lost: true } => {
                cause.message.contains(WHAT_TO_DO)
            }
            _ => false,
        });
        half && told && host == host_ix(self.controller.owner.host)
    }

    pub(crate) fn runs_on(&self) -> String {
        self.running().iter().map(|host| self.name(*host)).collect()
    }

    pub(crate) fn ended(&self) -> Vec<&'static str> {
        self.controller.operations.iter().map(|migration| migration.state.as_str()).collect()
    }

    /// A copy has begun to run.
    pub(crate) fn check_runs(&mut self, stale: bool) {
        if self.running().len() > 1 {
            self.violated(Violation::DoubleRun, |world| {
                let names: String = world.running().iter().map(|h| world.name(*h)).collect();
                format!("the guest runs on each of {names}")
            });
        }
        if stale {
            self.violated(Violation::StaleRun, |_| "another copy wrote in between".into());
        }
        self.check_owner();
    }

    /// An agent is about to let a copy run.
    pub(crate) fn check_asked(&mut self, host: usize) {
        if self.schedule.leased && self.running().iter().any(|other| *other != host) {
            self.violated(Violation::OnlyLeaseHeld, |world| {
                format!("the guest runs on {}", world.runs_on())
            });
        }
    }

    /// A copy runs only where the owner record says, whatever the phase: the record moves
    /// between the end of one copy and the start of the other. Under post-copy it has moved
    /// before, and the source may run the guest until QEMU switches.
    pub(crate) fn check_owner(&mut self) {
        let owner = host_ix(self.controller.owner.host);
        let before = self.controller.operations.last().and_then(|migration| {
            let unknown = matches!(migration.state, MigrationState::CleaningUp { .. })
                && migration.may_run_there;
            (migration.is_post_copy() || unknown).then(|| host_ix(migration.from))
        });
        if self.running().iter().any(|host| *host != owner && Some(*host) != before) {
            self.violated(Violation::OwnerDisagrees, |world| {
                format!(
                    "the owner is {}, epoch {}",
                    world.name(owner),
                    world.controller.owner.epoch
                )
            });
        }
    }

    /// Whether nothing moves any more.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.controller.is_at_rest() && self.left_over().is_none()
    }

    fn left_over(&self) -> Option<String> {
        for (host, here) in self.hosts.iter().enumerate() {
            if here.domain.job.is_some() && !self.is_told(host) {
                return Some(format!("{} has a job in its libvirtd", here.name));
            }
            if here.agent.is_leaving() || !here.agent.waits.is_empty() {
                return Some(format!("the agent of {} waits for something", here.name));
            }
        }
        let open = self.jobs.iter().any(|job| job.source_open || job.target_open);
        open.then(|| "a connection between two libvirtds".to_owned())
    }

    /// Long after the last fault.
    pub(crate) fn check_quiet(&mut self) {
        let owner = host_ix(self.controller.owner.host);
        let unfinished: Vec<String> = self
            .controller
            .operations
            .iter()
            .filter(|migration| !migration.state.is_finished() || owes(migration))
            .map(|migration| migration.state.as_str().to_owned())
            .collect();
        self.tally.stuck = unfinished.len() as u64;
        if !unfinished.is_empty() {
            self.violated(Violation::StuckOperation, |_| unfinished.join(", "));
        }
        let running = self.living();
        if !self.meant_to_run && running.is_empty() {
            // It is where its owner wants it: shut off.
        } else if running.is_empty() && self.killed_by_fault {
            self.tally.lost_by_fault = 1;
        } else if running.is_empty() {
            self.tally.lost_without_cause = 1;
            self.violated(Violation::LostWithoutCause, |_| "it runs nowhere".into());
        }
        for host in 0..HOSTS {
            let domain = &self.hosts[host].domain;
            if domain.qemu.is_some() && !domain.lives() && !self.is_told(host) {
                self.violated(Violation::ProcessLeft, |world| {
                    format!("on {}: {:?}", world.name(host), world.hosts[host].domain.qemu)
                });
            }
        }
        let defined: Vec<usize> =
            (0..HOSTS).filter(|host| self.hosts[*host].domain.defined).collect();
        if defined != [owner] {
            self.violated(Violation::DefinitionAstray, |world| {
                let names: String = defined.iter().map(|host| world.name(*host)).collect();
                format!("defined on `{names}`, the owner is {}", world.name(owner))
            });
        }
        self.check_images();
        if let Some(what) = self.left_over() {
            self.violated(Violation::JobLeft, |_| what);
        }
        self.check_reports(running.is_empty());
    }

    fn check_reports(&mut self, lost: bool) {
        let silent = self.controller.operations.iter().any(|migration| {
            matches!(&migration.state, MigrationState::Failed { cause, .. } if cause.message.is_empty())
        });
        if silent {
            self.violated(Violation::SilentFailure, |_| "a failure without a message".into());
        }
        let told_lost = self.controller.operations.last().is_some_and(|migration| {
            matches!(migration.state, MigrationState::Failed { guest_lost: true, .. })
        });
        if told_lost && !lost {
            self.violated(Violation::FalseReport, |_| "it is said to be lost, and runs".to_owned());
        }
        let completed = |state: &MigrationState| matches!(state, MigrationState::Completed { .. });
        let all = self.controller.operations.iter();
        self.tally.completed = all.filter(|m| completed(&m.state)).count() as u64;
    }
}
