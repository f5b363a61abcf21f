//! The source's thread.

use drover_lifecycle::{Failure, FailureKind};
use rand::RngExt as _;

use super::{End, Job, JobId, Message, Stage};
use crate::event::{Event, HostIx};
use crate::host::{Cpus, Phase, failure};
use crate::schedule::{Moment, Network};
use crate::world::World;

/// Pauses between attempts to connect, as TCP repeats its first packet; after the last one
/// the attempt fails.
const CONNECT_AGAIN: [u64; 7] = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];

/// Shortest silence that closes a connection: five unanswered probes, 5 s apart.
const KEEPALIVE_MIN: u64 = 25_000;
const KEEPALIVE_MAX: u64 = 30_000;

impl World {
    /// virDomainMigrateToURI3. The answer comes as [`Event::JobReturned`].
    pub(crate) fn migrate_out(
        &mut self,
        source: HostIx,
        target: HostIx,
        transfer: u64,
        post_copy: bool,
    ) -> Result<JobId, Failure> {
        if !self.hosts[source].libvirtd.up {
            return Err(failure(FailureKind::Retry, "libvirtd does not answer"));
        }
        let domain = &mut self.hosts[source].domain;
        let Some(qemu) = domain.qemu else {
            return Err(failure(FailureKind::Conflict, "domain is not running"));
        };
        if domain.job.is_some() {
            return Err(failure(FailureKind::Conflict, "another job runs"));
        }
        let job = self.jobs.len();
        domain.job = Some((Phase::Begin, job));
        self.jobs.push(Job {
            source,
            target,
            source_pid: qemu.pid,
            target_pid: None,
            target_life: None,
            source_open: false,
            target_open: false,
            thread: Some(Stage::Connecting),
            stream: Some(transfer),
            abort: false,
            post_copy,
            switched: false,
            goes_on: false,
            sends: false,
            error: None,
            held: Vec::new(),
        });
        self.say(|| format!("{} libvirtd: Begin, connects", self.name(source)));
        self.moment(Moment::Begin);
        self.agenda.after(2, Event::Connect { job, attempt: 0 });
        Ok(job)
    }

    pub(crate) fn connect(&mut self, job: JobId, attempt: usize) {
        let (source, target) = (self.jobs[job].source, self.jobs[job].target);
        if self.jobs[job].thread != Some(Stage::Connecting) {
            return;
        }
        if !self.linked(source, target) {
            match CONNECT_AGAIN.get(attempt) {
                Some(pause) => {
                    self.agenda.after(*pause, Event::Connect { job, attempt: attempt + 1 });
                }
                None => self.end_before_perform(job, "unable to connect: timed out"),
            }
            return;
        }
        if !self.hosts[target].libvirtd.up {
            return self.end_before_perform(job, "unable to connect: connection refused");
        }
        let life = self.hosts[target].libvirtd.life;
        let entry = &mut self.jobs[job];
        (entry.target_life, entry.source_open, entry.target_open) = (Some(life), true, true);
        entry.thread = Some(Stage::Preparing);
        self.send(job, Message::Prepare);
    }

    fn end_before_perform(&mut self, job: JobId, why: &str) {
        // virConnectOpen's errors: the agent takes them for a lost connection of its own.
        self.return_to_client(job, Err(failure(FailureKind::Retry, why)));
    }

    /// The thread ends: its client hears, and libvirt forgets the job.
    pub(super) fn return_to_client(&mut self, job: JobId, outcome: Result<(), Failure>) {
        let source = self.jobs[job].source;
        // What has switched stays a job until all is sent, and QEMU's stream needs no libvirt.
        let pid = self.jobs[job].source_pid;
        let alive = self.hosts[source].domain.qemu.is_some_and(|qemu| qemu.pid == pid);
        let goes_on = outcome.is_err() && self.jobs[job].switched && alive;
        let domain = &mut self.hosts[source].domain;
        if domain.job.is_some_and(|(_, of)| of == job) {
            domain.job = goes_on.then_some((Phase::Unattended, job));
        }
        self.jobs[job].thread = None;
        if outcome.is_ok() || !self.jobs[job].switched {
            self.jobs[job].stream = None;
        }
        self.close(job, End::Source);
        self.agenda.after(1, Event::Closed { job, end: End::Target });
        self.say(|| {
            let word = outcome.as_ref().map_or_else(|why| why.message.as_str(), |()| "done");
            format!("{} libvirtd: the job is over: {word}", self.name(source))
        });
        let life = self.hosts[source].agent.daemon.life;
        self.agenda.after(1, Event::JobReturned { host: source, life, job, outcome });
    }

    /// Whether packets go between two hosts' migration addresses.
    pub(crate) fn linked(&self, one: HostIx, other: HostIx) -> bool {
        let now = self.agenda.now();
        [one, other].iter().all(|host| self.hosts[*host].reaches(Network::Migration, now))
    }

    pub(super) fn send(&mut self, job: JobId, message: Message) {
        let (source, target) = (self.jobs[job].source, self.jobs[job].target);
        if self.linked(source, target) {
            let delay = self.rng.random_range(1..4);
            self.agenda.after(delay, Event::Arrives { job, message });
        } else {
            self.jobs[job].held.push(message);
        }
    }

    pub(crate) fn arrives(&mut self, job: JobId, message: Message) {
        let entry = &self.jobs[job];
        let open = match message {
            Message::Prepare | Message::Finish { .. } => entry.target_open,
            Message::Prepared(_) | Message::FinishAnswer { .. } => entry.source_open,
        };
        if !open {
            return;
        }
        if !self.linked(entry.source, entry.target) {
            self.jobs[job].held.push(message);
            return;
        }
        match message {
            Message::Prepare => self.prepare(job),
            Message::Finish { cancelled } => self.finish(job, cancelled),
            Message::Prepared(outcome) => self.prepared(job, outcome),
            Message::FinishAnswer { runs_there } => self.finish_answered(job, runs_there),
        }
    }

    fn prepared(&mut self, job: JobId, outcome: Result<(), Failure>) {
        if self.jobs[job].thread != Some(Stage::Preparing) {
            return;
        }
        if let Err(why) = outcome {
            return self.return_to_client(job, Err(why));
        }
        if self.jobs[job].goes_on {
            return self.stream_goes_on(job);
        }
        let source = self.jobs[job].source;
        let alive = self.hosts[source]
            .domain
            .qemu
            .is_some_and(|qemu| qemu.pid == self.jobs[job].source_pid);
        self.set_phase(job, Phase::Perform);
        if !alive {
            return self
                .perform_failed(job, failure(FailureKind::Refused, "domain is not running"));
        }
        if self.jobs[job].abort {
            return self.perform_failed(job, failure(FailureKind::Cancelled, "canceled by client"));
        }
        self.jobs[job].thread = Some(Stage::Performing);
        self.say(|| format!("{} libvirtd: Perform", self.name(source)));
        self.moment(Moment::Perform);
        self.agenda.after(1, Event::Stream { job });
    }

    pub(super) fn perform_failed(&mut self, job: JobId, why: Failure) {
        self.jobs[job].stream = None;
        self.jobs[job].error = Some(why);
        if self.jobs[job].source_open {
            self.jobs[job].thread = Some(Stage::Finishing { cancelled: true });
            self.send(job, Message::Finish { cancelled: true });
        } else {
            self.confirm(job, Phase::ConfirmCancelled);
        }
    }

    fn finish_answered(&mut self, job: JobId, runs_there: bool) {
        let Some(Stage::Finishing { cancelled }) = self.jobs[job].thread else { return };
        if self.jobs[job].switched && !runs_there {
            let why = failure(FailureKind::Broken, "the target could not finish post-copy");
            return self.post_copy_fails(job, why);
        }
        if runs_there && !cancelled {
            self.confirm(job, Phase::Confirm);
        } else {
            self.confirm(job, Phase::ConfirmCancelled);
        }
    }

    fn confirm(&mut self, job: JobId, phase: Phase) {
        self.set_phase(job, phase);
        self.jobs[job].thread = Some(Stage::Confirming);
        let source = self.jobs[job].source;
        self.say(|| format!("{} libvirtd: {phase:?}", self.name(source)));
        self.moment(match phase {
            Phase::Confirm => Moment::Confirm,
            _ => Moment::ConfirmCancelled,
        });
        let delay = self.rng.random_range(1..30);
        self.agenda.after(delay, Event::Confirmed { job });
    }

    pub(crate) fn confirmed(&mut self, job: JobId) {
        let source = self.jobs[job].source;
        if self.jobs[job].thread != Some(Stage::Confirming) {
            return;
        }
        let confirmed = self.hosts[source].domain.job == Some((Phase::Confirm, job));
        self.settle_source(source, confirmed);
        let outcome = if confirmed {
            Ok(())
        } else {
            let lost = || failure(FailureKind::Broken, "the target did not finish");
            Err(self.jobs[job].error.take().unwrap_or_else(lost))
        };
        self.return_to_client(job, outcome);
    }

    /// The end of the source's copy, or its return to life.
    pub(super) fn settle_source(&mut self, source: HostIx, confirmed: bool) {
        if confirmed {
            self.hosts[source].domain.defined = false;
            self.end_process(source, "its memory is on the target");
        } else if self.hosts[source]
            .domain
            .qemu
            .is_some_and(|q| q.cpus == Cpus::StoppedForMigration)
        {
            self.run_cpus(source, "libvirt takes the migration back");
        }
    }

    pub(super) fn set_phase(&mut self, job: JobId, phase: Phase) {
        let source = self.jobs[job].source;
        if let Some(entry) = self.hosts[source].domain.job.as_mut() {
            *entry = (phase, job);
        }
    }

    /// One end finds that the other is no longer there.
    pub(crate) fn closed(&mut self, job: JobId, end: End) {
        match end {
            End::Source if self.jobs[job].source_open => self.source_end_closed(job),
            End::Target if self.jobs[job].target_open => {
                self.close(job, End::Target);
                self.target_end_closed(job);
            }
            _ => {}
        }
    }

    fn source_end_closed(&mut self, job: JobId) {
        self.close(job, End::Source);
        let source = self.jobs[job].source;
        self.say(|| {
            format!("{} libvirtd: the connection to its peer is closed", self.name(source))
        });
        let lost = failure(FailureKind::Broken, "client socket is closed");
        match self.jobs[job].thread {
            Some(Stage::Performing | Stage::SwitchingOver | Stage::Finishing { .. })
                if self.jobs[job].switched =>
            {
                self.post_copy_fails(job, lost);
            }
            Some(Stage::Preparing) => self.return_to_client(job, Err(lost)),
            Some(Stage::Performing | Stage::SwitchingOver) => self.perform_failed(job, lost),
            Some(Stage::Finishing { .. }) => {
                self.jobs[job].error.get_or_insert(lost);
                self.confirm(job, Phase::ConfirmCancelled);
            }
            Some(Stage::Connecting | Stage::Confirming) | None => {}
        }
    }

    pub(super) fn close(&mut self, job: JobId, end: End) {
        let entry = &mut self.jobs[job];
        match end {
            End::Source => entry.source_open = false,
            End::Target => entry.target_open = false,
        }
    }

    /// A host has fallen silent on the migration network.
    pub(crate) fn watch_silence(&mut self, host: HostIx) {
        let since = self.agenda.now();
        for job in 0..self.jobs.len() {
            let entry = &self.jobs[job];
            if entry.source != host && entry.target != host {
                continue;
            }
            for (end, open) in [(End::Source, entry.source_open), (End::Target, entry.target_open)]
            {
                if open {
                    let patience = self.rng.random_range(KEEPALIVE_MIN..KEEPALIVE_MAX);
                    self.agenda.after(patience, Event::Keepalive { job, end, since });
                }
            }
        }
    }

    pub(crate) fn keepalive(&mut self, job: JobId, end: End, since: u64) {
        let entry = &self.jobs[job];
        let silent = [entry.source, entry.target]
            .iter()
            .any(|host| self.hosts[*host].silent_since.is_some_and(|begun| begun <= since));
        if silent {
            self.closed(job, end);
        }
    }

    /// A host is heard again: what was held goes on, and ends whose peer died are told so.
    pub(crate) fn link_back(&mut self, host: HostIx) {
        for job in 0..self.jobs.len() {
            let entry = &self.jobs[job];
            let (source, target) = (entry.source, entry.target);
            if (source != host && target != host) || !self.linked(source, target) {
                continue;
            }
            let target_lives = self.hosts[target].libvirtd.up
                && entry.target_life == Some(self.hosts[target].libvirtd.life)
                && entry.target_open;
            let source_lives = entry.source_open;
            if entry.source_open && !target_lives {
                self.agenda.after(1, Event::Closed { job, end: End::Source });
            }
            if entry.target_open && !source_lives {
                self.agenda.after(1, Event::Closed { job, end: End::Target });
            }
            self.tell_half(job);
            for message in std::mem::take(&mut self.jobs[job].held) {
                let delay = self.rng.random_range(1..50);
                self.agenda.after(delay, Event::Arrives { job, message });
            }
        }
    }
}
