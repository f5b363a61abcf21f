//! The switch to post-copy, and going on after a break (`drover-agent`'s `post_copy.rs`,
//! `adjust.rs` and as much of `converge.rs` as asks for the switch).

use drover_lifecycle::recovery::{Broken, Patience};
use drover_lifecycle::{Failure, FailureKind};
use drover_model::{GuestState, PostCopy};

use super::Task;
use crate::event::{Command, Event, HostIx, OpIx};
use crate::link::{Said, Update};
use crate::world::World;

/// A broken transfer is gone on with so often.
const TRY_AGAIN: u64 = 5_000;

/// Looks after which a job that does not switch is taken for one that cannot.
const SWITCH_TRIES: u32 = 20;

/// The wish to switch is told again after so long.
const WISH_AGAIN: u64 = 5_000;

/// Watched for so long, a transfer that may be switched is said not to converge.
const PATIENCE: u64 = 1_500;

/// How long the watch over a process must hold before the migration begins.
const SIGHTING: u64 = 100;

impl World {
    /// The transfer is ended, or was not begun, so that one that can be switched takes its place.
    pub(super) fn begin_again(&mut self, host: HostIx, operation: OpIx) {
        let pid = self.hosts[host].domain.qemu.map(|qemu| qemu.pid);
        let life = self.hosts[host].agent.daemon.life;
        if let Some(known) = self.departure(host, life, operation) {
            known.task = Task::Sighting { pid, post_copy: true };
            self.say(|| format!("{} agent: begins again, to switch", self.name(host)));
            self.agenda.after(SIGHTING, Event::Depart { host, life, operation });
        }
    }

    /// A command for a migration that is known.
    pub(super) fn adjust(&mut self, host: HostIx, command: Command) {
        let life = self.hosts[host].agent.daemon.life;
        let Some(known) = self.departure(host, life, command.operation) else { return };
        if command.post_copy && !known.wishes.to_switch {
            known.wishes.to_switch = true;
            if known.wishes.job_permits == Some(false) {
                self.abort_job(host);
            }
        }
    }

    /// A transfer that may be switched does not end otherwise.
    pub(super) fn converge(&mut self, host: HostIx, operation: OpIx) {
        let settings = &self.controller.operations[operation].settings;
        let (now, life) = (self.agenda.now(), self.hosts[host].agent.daemon.life);
        if settings.post_copy != PostCopy::Allow {
            return;
        }
        let Some(known) = self.departure(host, life, operation) else { return };
        let wishes = &mut known.wishes;
        let due = wishes.told.is_none_or(|told| now >= told + WISH_AGAIN);
        if !wishes.to_switch && due && now >= wishes.watched_since + PATIENCE {
            wishes.told = Some(now);
            self.tell(host, Said::Update { operation, update: Update::WantsPostCopy });
        }
    }

    /// The task that began the job knows whether it can be switched.
    pub(super) fn switch_if_permitted(&mut self, host: HostIx, operation: OpIx) {
        let life = self.hosts[host].agent.daemon.life;
        let Some(known) = self.departure(host, life, operation) else { return };
        let wanted = known.wishes.to_switch && known.wishes.job_permits == Some(true);
        let wanted = wanted && self.has_moved(host, operation);
        let Some(known) = self.departure(host, life, operation) else { return };
        if wanted && !known.wishes.switched && self.start_post_copy(host).is_ok() {
            self.note_switched(host, operation);
        }
    }

    /// The same for a job of which it is not known; ends it when it cannot.
    pub(super) fn switch_or_end(&mut self, host: HostIx, operation: OpIx) {
        let life = self.hosts[host].agent.daemon.life;
        let Some(known) = self.departure(host, life, operation) else { return };
        if !known.wishes.to_switch || known.wishes.switched {
            return;
        }
        known.wishes.tries += 1;
        known.cancel |= known.wishes.tries >= SWITCH_TRIES;
        if self.has_moved(host, operation) && self.start_post_copy(host).is_ok() {
            self.note_switched(host, operation);
        }
    }

    /// A line that is dead brings nothing over; switched then, the guest would be lost.
    fn has_moved(&mut self, host: HostIx, operation: OpIx) -> bool {
        let left = self.hosts[host].domain.job.and_then(|(_, job)| self.jobs[job].stream);
        let life = self.hosts[host].agent.daemon.life;
        let Some(known) = self.departure(host, life, operation) else { return false };
        let before = std::mem::replace(&mut known.wishes.left, left);
        before.is_some_and(|before| left.is_some_and(|left| left < before))
    }

    fn note_switched(&mut self, host: HostIx, operation: OpIx) {
        let life = self.hosts[host].agent.daemon.life;
        if let Some(known) = self.departure(host, life, operation) {
            (known.wishes.switched, known.cancel) = (true, false);
        }
    }

    pub(super) fn has_broken(&self, host: HostIx) -> bool {
        matches!(self.look_at(host), Ok((Some(GuestState::PostCopyFailed), _)))
    }

    pub(super) fn begin_recovery(&mut self, host: HostIx, operation: OpIx, seen: bool) {
        let why = crate::host::failure(FailureKind::Broken, "its transfer broke after the switch");
        let broken = if seen { Broken::new(self.agenda.now()) } else { Broken::unseen() };
        self.recover_later(host, operation, broken, why);
    }

    fn recover_later(&mut self, host: HostIx, operation: OpIx, broken: Broken, why: Failure) {
        let life = self.hosts[host].agent.daemon.life;
        if let Some(known) = self.departure(host, life, operation) {
            known.task = Task::Recovering { job: None, broken };
            self.tell(host, Said::Update { operation, update: Update::PostCopyFailed(why) });
            self.agenda.after(TRY_AGAIN, Event::Recover { host, life, operation });
        }
    }

    pub(crate) fn recover(&mut self, host: HostIx, life: u32, operation: OpIx) {
        let Some(known) = self.departure(host, life, operation) else { return };
        let Task::Recovering { job: None, broken } = known.task else { return };
        let target = known.target;
        let stream = broken.stream(self.agenda.now(), Patience::default());
        match self.recover_post_copy(host, target, stream) {
            Ok(job) => {
                if let Some(known) = self.departure(host, life, operation) {
                    known.task = Task::Recovering { job: Some(job), broken };
                }
            }
            Err(why) => self.not_recovered(host, operation, why),
        }
    }

    pub(super) fn not_recovered(&mut self, host: HostIx, operation: OpIx, why: Failure) {
        if !self.has_broken(host) {
            // It ended by itself, or libvirt does not answer.
            self.follow(host, operation);
        } else if why.kind == FailureKind::Gone {
            // Nothing can run here any more: whose the guest is the target tells.
            self.conclude_without(host, operation);
        } else {
            let (now, life) = (self.agenda.now(), self.hosts[host].agent.daemon.life);
            let known = self.departure(host, life, operation);
            let Some(Task::Recovering { mut broken, .. }) = known.map(|known| known.task) else {
                return;
            };
            if why.kind == FailureKind::Retry {
                broken.target_is_silent();
            } else {
                broken.target_answers(now);
            }
            self.recover_later(host, operation, broken, why);
        }
    }

    fn conclude_without(&mut self, host: HostIx, operation: OpIx) {
        self.say(|| format!("{} agent: the target has lost its half", self.name(host)));
        self.conclude(host, operation, Ok(()));
    }
}
