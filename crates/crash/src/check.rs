//! What must hold: at every event, and when faults have ceased.

use std::collections::BTreeMap;

use drover_lifecycle::MigrationState;

use crate::controller::{host_ix, owes};
use crate::world::{HOSTS, World};

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// `no_double_run`: two copies of the guest ran at the same time.
    DoubleRun,
    /// `no_double_run`: a copy ran whose memory does not know what another one had written.
    StaleRun,
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
    /// A failed operation does not say why.
    SilentFailure,
    /// A failed operation says of the guest what is not so.
    FalseReport,
}

/// Each broken promise with the first account of it.
pub(crate) type Violations = BTreeMap<Violation, String>;

impl World {
    fn violated(&mut self, violation: Violation, account: impl FnOnce(&Self) -> String) {
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

    /// A copy runs only where the owner record says, whatever the phase: the record moves
    /// between the end of one copy and the start of the other.
    pub(crate) fn check_owner(&mut self) {
        let owner = host_ix(self.controller.owner.host);
        if self.running().iter().any(|host| *host != owner) {
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
        for here in &self.hosts {
            if here.domain.job.is_some() {
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
        let running = self.running();
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
            if domain.qemu.is_some() && !domain.runs() {
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
