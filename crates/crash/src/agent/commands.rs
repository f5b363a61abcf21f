//! Commands, behind the epoch gate (`drover-agent`'s `command/`).

use drover_lifecycle::{Admission, Beginning, Effect, Failure, FailureKind, admission, beginning};
use drover_model::{GuestState, MigrationMode};

use super::{Departure, Status, Task, Wait};
use crate::check::WHAT_TO_DO;
use crate::event::{Command, Event, HostIx, OpIx};
use crate::host::failure;
use crate::link::Said;
use crate::world::World;

/// How long an arrival may take to be complete; `command/resume.rs`.
const PATIENCE: u64 = 10_000;

/// The agent tries in ever longer steps, from 2 ms; fewer do here.
const FIRST_PAUSE: u64 = 2;
const LONGEST_PAUSE: u64 = 100;

/// Attempts after which it is asked whether the guest has stopped by itself.
const QUICK_ATTEMPTS: u32 = 5;

/// How long the watch over a process must hold before the migration begins.
const SIGHTING: u64 = 100;

impl World {
    pub(crate) fn obey(&mut self, host: HostIx, command: Command) {
        if !self.hosts[host].agent.daemon.up {
            return;
        }
        match admission(self.hosts[host].epoch_seen, command.epoch) {
            Admission::Stale { .. } if !self.habits.ignores_epochs => {
                let stale = failure(FailureKind::StaleEpoch, "the epoch is stale");
                return self.answer(host, command, Err(stale));
            }
            Admission::Stale { .. } | Admission::Known => {}
            Admission::New => self.hosts[host].epoch_seen = Some(command.epoch),
        }
        let outcome = match command.effect {
            Effect::AcceptIncoming => self.accept(host, command.operation),
            Effect::StartMigration => self.start(host, command),
            Effect::CancelMigration => self.cancel(host, command.operation),
            Effect::DiscardAtTarget => self.discard(host, command),
            Effect::DefineAtTarget => self.define(host, command.operation),
            Effect::StartAtTarget => self.start_guest(host),
            Effect::RemoveAtSource => self.remove_departed(host),
            Effect::ResumeAtTarget | Effect::ResumeAtSource => {
                let id = self.new_pid();
                let deadline = self.agenda.now() + PATIENCE;
                let wait = Wait { id, command, deadline, attempt: 0 };
                self.hosts[host].agent.waits.push(wait);
                let life = self.hosts[host].agent.daemon.life;
                return self.attempt_resume(host, life, id);
            }
        };
        self.answer(host, command, outcome);
    }

    fn answer(&mut self, host: HostIx, command: Command, outcome: Result<(), Failure>) {
        self.tell(host, Said::Answer { command, failure: outcome.err() });
    }

    fn accept(&mut self, host: HostIx, operation: OpIx) -> Result<(), Failure> {
        if self.hosts[host].agent.is_leaving() {
            return Err(failure(FailureKind::Retry, "its migration away is not over"));
        }
        match self.look_at(host)? {
            (Some(state), _) if state.is_active() => {
                Err(failure(FailureKind::Conflict, "it is active on this host already"))
            }
            _ => self.claim_image(host, operation),
        }
    }

    fn cancel(&mut self, host: HostIx, operation: OpIx) -> Result<(), Failure> {
        let departures = &mut self.hosts[host].agent.departures;
        if let Some(known) = departures.iter_mut().find(|known| known.operation == operation) {
            known.cancel = true;
        }
        self.look_at(host)?;
        self.abort_job(host);
        Ok(())
    }

    fn start(&mut self, host: HostIx, command: Command) -> Result<(), Failure> {
        let operation = command.operation;
        if self.hosts[host].agent.departures.iter().any(|known| known.operation == operation) {
            self.hosts[host].spent = self.hosts[host].spent.max(Some(command.epoch));
            self.report(host, operation);
            self.adjust(host, command);
            return Ok(());
        }
        if self.hosts[host].agent.is_leaving() {
            return Err(failure(FailureKind::Conflict, "another migration is under way here"));
        }
        let spent = self.hosts[host].spent >= Some(command.epoch);
        if command.mode == MigrationMode::Cold {
            return self.start_copy(host, command, spent);
        }
        let (state, job) = self.look_at(host)?;
        let job = job && state.is_some_and(GuestState::is_active);
        let pid = self.hosts[host].domain.qemu.map(|qemu| qemu.pid);
        let life = self.hosts[host].agent.daemon.life;
        let (task, status) = match beginning(state, job, spent) {
            Beginning::Depart => {
                self.hosts[host].spent = Some(command.epoch);
                let post_copy = command.post_copy || self.habits.always_permits_post_copy;
                (Task::Sighting { pid, post_copy }, Status::Running)
            }
            Beginning::Follow => (self.following(host), Status::Running),
            Beginning::Refuse(why) => {
                (self.following(host), Status::Failed(failure(FailureKind::Conflict, &why)))
            }
        };
        let begun = Departure::new(command, status, task, self.agenda.now());
        let over = begun.status.is_over();
        self.hosts[host].agent.departures.push(begun);
        match task {
            _ if over => self.report(host, operation),
            Task::Sighting { .. } => {
                self.agenda.after(SIGHTING, Event::Depart { host, life, operation });
                self.agenda.after(SIGHTING, Event::LookForProgress { host, life, operation });
            }
            _ => self.agenda.after(1, Event::Look { host, life, operation, turn: 0 }),
        }
        Ok(())
    }

    pub(crate) fn attempt_resume(&mut self, host: HostIx, life: u32, id: u64) {
        let agent = &self.hosts[host].agent;
        if !agent.daemon.up || agent.daemon.life != life {
            return;
        }
        let Some(place) = agent.waits.iter().position(|wait| wait.id == id) else { return };
        let Wait { command, deadline, attempt, .. } = agent.waits[place];
        let mut outcome = self.try_resume(host, command);
        if outcome.is_err() && attempt >= QUICK_ATTEMPTS && self.is_stopped(host) {
            outcome = Err(failure(FailureKind::Refused, "it is shut off here"));
        } else if outcome.is_err() && attempt >= QUICK_ATTEMPTS && self.has_broken(host) {
            let message = format!("half of its memory is lost: {WHAT_TO_DO} and start it");
            outcome = Err(failure(FailureKind::Refused, &message));
        }
        let again = matches!(
            &outcome,
            Err(Failure {
                kind: FailureKind::Conflict | FailureKind::Retry | FailureKind::Broken,
                ..
            })
        );
        if again && self.agenda.now() < deadline {
            self.hosts[host].agent.waits[place].attempt += 1;
            let pause = (FIRST_PAUSE << attempt.min(6)).min(LONGEST_PAUSE);
            self.agenda.after(pause, Event::AttemptResume { host, life, wait: id });
        } else {
            self.hosts[host].agent.waits.remove(place);
            if outcome.is_ok() {
                self.keep_image(host);
            }
            self.answer(host, command, outcome);
        }
    }

    fn try_resume(&mut self, host: HostIx, command: Command) -> Result<(), Failure> {
        let overtaken = self.hosts[host].epoch_seen.is_some_and(|seen| seen > command.epoch);
        if overtaken && !self.habits.ignores_epochs {
            return Err(failure(FailureKind::StaleEpoch, "overtaken by a higher epoch"));
        }
        if self.hosts[host].agent.is_leaving() {
            self.end_departures(host);
            return Err(failure(FailureKind::Conflict, "its migration away is not over"));
        }
        self.resume_domain(host)
    }

    fn is_stopped(&self, host: HostIx) -> bool {
        matches!(self.look_at(host), Ok((Some(state), _)) if !state.is_active())
    }

    /// It is to run here: no departure that somebody began under an older epoch is wanted.
    fn end_departures(&mut self, host: HostIx) {
        let mut any = false;
        for known in &mut self.hosts[host].agent.departures {
            if matches!(known.status, Status::Running) {
                known.cancel = true;
                any = true;
            }
        }
        if any {
            self.abort_job(host);
        }
    }

    /// A definition of a copy that has stopped goes as well; images last, while a copy uses them
    /// they stay.
    fn discard(&mut self, host: HostIx, command: Command) -> Result<(), Failure> {
        if self.is_stopped(host) && command.may_have_run {
            return Err(failure(FailureKind::Refused, "a copy that may have run is shut off"));
        }
        if self.is_stopped(host) {
            self.hosts[host].domain.defined = false;
        } else {
            self.discard_domain(host)?;
        }
        self.discard_image(host, command.operation);
        Ok(())
    }

    fn start_copy(&mut self, host: HostIx, command: Command, spent: bool) -> Result<(), Failure> {
        let operation = command.operation;
        if spent {
            return Err(failure(FailureKind::Broken, "its copy has been told to be over"));
        }
        if !self.is_stopped(host) {
            self.look_at(host)?;
            return Err(failure(FailureKind::Conflict, "it is not shut off here"));
        }
        let task = Task::Copying;
        let begun = Departure::new(command, Status::Running, task, self.agenda.now());
        self.hosts[host].agent.departures.push(begun);
        let (life, lasting) = (self.hosts[host].agent.daemon.life, self.transfer_of(operation));
        self.agenda.after(lasting, Event::Copied { host, life, operation });
        Ok(())
    }

    fn define(&mut self, host: HostIx, operation: OpIx) -> Result<(), Failure> {
        let image = self.hosts[host].image;
        if self.schedule.local && image.is_none_or(|image| image.made_by != Some(operation)) {
            return Err(failure(FailureKind::Refused, "not the file that was made for the copy"));
        }
        if self.look_at(host)?.0.is_some_and(GuestState::is_active) {
            return Err(failure(FailureKind::Conflict, "it is active on this host already"));
        }
        self.hosts[host].domain.defined = true;
        Ok(())
    }

    fn start_guest(&mut self, host: HostIx) -> Result<(), Failure> {
        match self.look_at(host)?.0 {
            Some(GuestState::Running) => {}
            Some(state) if state.is_active() => {
                return Err(failure(FailureKind::Conflict, "a copy of it is paused here"));
            }
            _ => self.boot_domain(host)?,
        }
        self.keep_image(host);
        Ok(())
    }

    fn remove_departed(&mut self, host: HostIx) -> Result<(), Failure> {
        let (state, _) = self.look_at(host)?;
        let is_left = match state {
            // What libvirt could not take back.
            Some(GuestState::PausedForMigration) => self.hosts[host].domain.job.is_none(),
            // The other half is the owner's, and lost: this one is nothing.
            Some(GuestState::PostCopyFailed) => !self.hosts[host].domain.runs(),
            _ => false,
        };
        if is_left {
            self.end_process(host, "its agent removes what is left of it");
        } else if state.is_some_and(GuestState::is_active) {
            return Err(failure(FailureKind::Conflict, "it is active here"));
        }
        self.hosts[host].domain.defined = false;
        self.remove_departed_image(host);
        Ok(())
    }
}
