//! Migrations away from a host (`drover-agent`'s `migration/`).

use drover_lifecycle::{Failure, FailureKind, Look, Verdict, judge};
use drover_model::{GuestState, MigrationProgress};

use super::{Departure, Status, Task};
use crate::event::{Event, HostIx, OpIx};
use crate::host::failure;
use crate::libvirt::JobId;
use crate::link::{Said, Update};
use crate::schedule::Moment;
use crate::world::World;

/// How often a followed job is looked at; `migration/follow.rs`.
const LOOK_INTERVAL: u64 = 250;

/// How often progress is read; a wish to cancel is looked at with it.
const PROGRESS_INTERVAL: u64 = 500;

impl World {
    pub(super) fn following(&self, host: HostIx) -> Task {
        Task::Following {
            watches: self.hosts[host].domain.qemu.map(|qemu| qemu.pid),
            process_gone: false,
            quiet: 0,
            off_since: None,
            turn: 0,
        }
    }

    pub(super) fn departure(
        &mut self,
        host: HostIx,
        life: u32,
        operation: OpIx,
    ) -> Option<&mut Departure> {
        let agent = &mut self.hosts[host].agent;
        if !agent.daemon.up || agent.daemon.life != life {
            return None;
        }
        let mut all = agent.departures.iter_mut();
        all.find(|known| known.operation == operation && !known.status.is_over())
    }

    pub(crate) fn depart(&mut self, host: HostIx, life: u32, operation: OpIx) {
        let Some(known) = self.departure(host, life, operation) else { return };
        let Task::Sighting { pid, post_copy } = known.task else { return };
        let (target, to_switch) = (known.target, known.wishes.to_switch);
        if known.cancel {
            let cancelled = failure(FailureKind::Cancelled, "before it began");
            return self.conclude(host, operation, Err(cancelled));
        }
        if to_switch && !post_copy {
            return self.begin_again(host, operation);
        }
        // A process that ended within the watch's first moment was never sighted.
        let pid = pid.filter(|pid| self.hosts[host].domain.qemu.is_some_and(|q| q.pid == *pid));
        let transfer = self.transfer_of(operation);
        match self.migrate_out(host, target, transfer, post_copy) {
            Ok(job) => {
                if let Some(known) = self.departure(host, life, operation) {
                    known.task = Task::Departing { job, pid };
                    known.wishes.job_permits = Some(post_copy);
                }
            }
            Err(why) if why.kind == FailureKind::Retry => self.follow(host, operation),
            Err(why) => self.ended_badly(host, operation, why, post_copy),
        }
    }

    pub(crate) fn copied(&mut self, host: HostIx, life: u32, operation: OpIx) {
        let Some(known) = self.departure(host, life, operation) else { return };
        if known.cancel {
            let cancelled = failure(FailureKind::Cancelled, "canceled by client");
            return self.conclude(host, operation, Err(cancelled));
        }
        let target = known.target;
        let reached = self.linked(host, target) && self.hosts[target].libvirtd.up;
        if self.schedule.local && (!reached || self.lacks_image(target)) {
            let broke = failure(FailureKind::Broken, "the connection to the target");
            return self.conclude(host, operation, Err(broke));
        }
        self.copy_image(host, target);
        self.advance(host, operation, Status::Copied);
    }

    pub(super) fn follow(&mut self, host: HostIx, operation: OpIx) {
        let (task, life) = (self.following(host), self.hosts[host].agent.daemon.life);
        if let Some(known) = self.departure(host, life, operation) {
            known.task = task;
            self.say(|| format!("{} agent: follows the migration", self.name(host)));
            self.agenda.after(1, Event::Look { host, life, operation, turn: 0 });
        }
    }

    pub(crate) fn look_for_progress(&mut self, host: HostIx, life: u32, operation: OpIx) {
        let Some(known) = self.departure(host, life, operation) else { return };
        if matches!(known.task, Task::Following { .. } | Task::Copying | Task::Recovering { .. }) {
            return;
        }
        let cancel = known.cancel;
        if matches!(self.look_at(host), Ok((_, true))) {
            if cancel {
                self.abort_job(host);
            }
            self.converge(host, operation);
            self.switch_if_permitted(host, operation);
        }
        self.agenda.after(PROGRESS_INTERVAL, Event::LookForProgress { host, life, operation });
    }

    pub(crate) fn job_returned(
        &mut self,
        host: HostIx,
        life: u32,
        job: JobId,
        outcome: Result<(), Failure>,
    ) {
        let agent = &self.hosts[host].agent;
        let waits = |known: &&Departure| {
            !known.status.is_over()
                && match known.task {
                    Task::Departing { job: of, .. } => of == job,
                    Task::Recovering { job: of, .. } => of == Some(job),
                    _ => false,
                }
        };
        let Some(known) = agent.departures.iter().find(waits) else { return };
        let (operation, permits) = (known.operation, known.wishes.job_permits == Some(true));
        let recovers = matches!(known.task, Task::Recovering { .. });
        if !agent.daemon.up || agent.daemon.life != life {
            return;
        }
        match outcome {
            Ok(()) => self.conclude(host, operation, Ok(())),
            Err(why) if recovers => self.not_recovered(host, operation, why),
            Err(why) if why.kind == FailureKind::Retry => self.follow(host, operation),
            Err(why) => self.ended_badly(host, operation, why, permits),
        }
    }

    /// Under post-copy the guest's state alone tells what became of it.
    fn ended_badly(&mut self, host: HostIx, operation: OpIx, why: Failure, post_copy: bool) {
        let departures = &mut self.hosts[host].agent.departures;
        let Some(known) = departures.iter_mut().find(|known| known.operation == operation) else {
            return;
        };
        let again = why.kind == FailureKind::Cancelled && known.wishes.to_switch && !known.cancel;
        if again && !post_copy {
            self.begin_again(host, operation);
        } else if post_copy && !self.habits.takes_a_break_for_a_failure {
            known.why = Some(why);
            self.follow(host, operation);
        } else {
            self.conclude(host, operation, Err(why));
        }
    }

    /// Calls that were made to a daemon that died return at once.
    pub(crate) fn agent_loses_libvirt(&mut self, host: HostIx) {
        let called = |known: &&Departure| {
            let called = matches!(
                known.task,
                Task::Departing { .. } | Task::Recovering { job: Some(_), .. }
            );
            !known.status.is_over() && called
        };
        let departures = &self.hosts[host].agent.departures;
        if let Some(operation) = departures.iter().find(called).map(|known| known.operation) {
            self.follow(host, operation);
        }
    }

    /// A process of the guest has ended on a host whose agent may be watching it.
    pub(crate) fn exit_seen(&mut self, host: HostIx, life: u32) {
        let agent = &self.hosts[host].agent;
        if !agent.daemon.up || agent.daemon.life != life {
            return;
        }
        let here = self.hosts[host].domain.qemu.map(|qemu| qemu.pid);
        let mut told = Vec::new();
        for known in &mut self.hosts[host].agent.departures {
            match &mut known.task {
                Task::Departing { pid: Some(pid), .. } if Some(*pid) != here => {
                    told.push(known.operation);
                }
                // Only libvirt tells whether it left, or was taken back and died here.
                Task::Following { watches, process_gone, .. }
                    if watches.is_some() && *watches != here =>
                {
                    *process_gone = true;
                }
                _ => {}
            }
        }
        for operation in told {
            self.advance(host, operation, Status::SourceGone);
        }
    }

    pub(crate) fn look(&mut self, host: HostIx, life: u32, operation: OpIx, turn: u32) {
        let found = self.look_at(host);
        let here = self.hosts[host].domain.qemu.map(|qemu| qemu.pid);
        let now = self.agenda.now();
        let Some(known) = self.departure(host, life, operation) else { return };
        let (cancel, told) = (known.cancel, known.why.clone());
        let Task::Following { watches, process_gone, quiet, off_since, turn: due } =
            &mut known.task
        else {
            return;
        };
        if turn != *due {
            return;
        }
        *due += 1;
        let next = Event::Look { host, life, operation, turn: *due };
        // A watch that saw no process ends when libvirt agrees; it errs while libvirt is away.
        if watches.is_none() && !*process_gone {
            match &found {
                Ok((state, _)) if !state.is_some_and(|state| state.is_active()) => {
                    *process_gone = true;
                }
                _ => *watches = here,
            }
        }
        if let Ok((state, job)) = found {
            *quiet = if job { 0 } else { *quiet + 1 };
            let job = job.then(MigrationProgress::default);
            let is_off = state == Some(GuestState::ShutOff);
            *off_since = is_off.then(|| off_since.unwrap_or(now));
            let off_ms = off_since.map_or(0, |since| now - since);
            let look = Look { state, job, process_gone: *process_gone, quiet: *quiet, off_ms };
            match judge(&look) {
                Verdict::Runs(_) => {
                    if cancel {
                        self.abort_job(host);
                    }
                    self.converge(host, operation);
                    self.switch_or_end(host, operation);
                }
                Verdict::LookAgain => {}
                Verdict::Broke => return self.begin_recovery(host, operation, told.is_some()),
                Verdict::Left => return self.conclude(host, operation, Ok(())),
                Verdict::Stayed(kind, stayed) => {
                    let why = told.filter(|_| kind == FailureKind::Broken);
                    let why = why.unwrap_or_else(|| failure(kind, stayed));
                    return self.conclude(host, operation, Err(why));
                }
            }
        } else if self.habits.takes_silence_for_absence {
            return self.conclude(host, operation, Ok(()));
        }
        self.agenda.after(LOOK_INTERVAL, next);
    }

    pub(super) fn conclude(&mut self, host: HostIx, operation: OpIx, outcome: Result<(), Failure>) {
        let status = outcome.map_or_else(Status::Failed, |()| Status::Finished);
        self.advance(host, operation, status);
    }

    /// A status never moves backwards.
    fn advance(&mut self, host: HostIx, operation: OpIx, to: Status) {
        let departures = &mut self.hosts[host].agent.departures;
        let Some(known) = departures.iter_mut().find(|known| known.operation == operation) else {
            return;
        };
        let forward = match (&known.status, &to) {
            (Status::Running, _) => true,
            (Status::SourceGone, to) => to.is_over(),
            (Status::Finished | Status::Copied | Status::Failed(_), _) => false,
        };
        if !forward {
            return;
        }
        let gone = matches!(to, Status::SourceGone);
        let (failed, epoch) = (matches!(to, Status::Failed(_) | Status::Copied), known.epoch);
        known.status = to;
        if failed {
            // Durable before it is told.
            self.hosts[host].spent = self.hosts[host].spent.max(Some(epoch));
        }
        self.report(host, operation);
        if gone {
            self.moment(Moment::SourceGone);
        }
    }

    pub(super) fn report(&mut self, host: HostIx, operation: OpIx) {
        let departures = &self.hosts[host].agent.departures;
        let status =
            departures.iter().find(|known| known.operation == operation).map(|known| &known.status);
        let update = match status {
            None | Some(Status::Running) => return,
            Some(Status::SourceGone) => Update::SourceGone,
            Some(Status::Finished) => Update::Finished,
            Some(Status::Copied) => Update::Copied,
            Some(Status::Failed(why)) => Update::Failed(why.clone()),
        };
        self.tell(host, Said::Update { operation, update });
    }
}
