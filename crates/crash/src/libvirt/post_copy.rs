//! What is different once a migration has switched to post-copy: the source's copy can run no
//! more, the target's runs before it has everything, and QEMU's stream needs neither libvirt.

use drover_lifecycle::{Failure, FailureKind};
use drover_model::BrokenStream;

use super::{Job, JobId, Message, Stage};
use crate::event::{Event, HostIx};
use crate::host::{Cpus, Memory, Phase, Qemu, failure};
use crate::schedule::Moment;
use crate::world::World;

/// How often QEMU tries to bring its state over a line that is cut.
const STEP: u64 = 100;

/// What is left to be sent of a transfer that broke.
const REST: u64 = 400;

impl World {
    /// virDomainMigrateStartPostCopy.
    pub(crate) fn start_post_copy(&mut self, host: HostIx) -> Result<(), Failure> {
        if !self.hosts[host].libvirtd.up {
            return Err(failure(FailureKind::Retry, "libvirtd does not answer"));
        }
        let ready = self.hosts[host].domain.job.filter(|(_, job)| {
            let job = &self.jobs[*job];
            let sends = job.stream.is_some_and(|left| left > 0) && job.sends && !job.abort;
            let performs = job.source == host && job.thread == Some(Stage::Performing);
            performs && job.post_copy && !job.switched && sends
        });
        let Some((_, job)) = ready else {
            return Err(failure(FailureKind::Conflict, "no migration that can be switched"));
        };
        self.stop_cpus(host);
        if let Some(qemu) = self.hosts[host].domain.qemu.as_mut() {
            (qemu.cpus, qemu.memory) = (Cpus::PostCopy, Memory::Sent);
        }
        self.jobs[job].switched = true;
        self.say(|| format!("{} QEMU: switches to post-copy", self.name(host)));
        let Job { source, target, target_pid, .. } = self.jobs[job];
        if !self.linked(source, target) || !self.is_alive(target, target_pid) {
            // The line has died since it was looked at: nobody could have known.
            self.killed_by_fault = true;
        }
        self.moment(Moment::PostCopy);
        self.agenda.after(2, Event::SwitchArrives { job });
        Ok(())
    }

    /// The state of the guest's devices is on the target, which could run it from here on.
    pub(crate) fn switch_arrives(&mut self, job: JobId) {
        let (source, target) = (self.jobs[job].source, self.jobs[job].target);
        if self.jobs[job].stream.is_none() {
            return;
        }
        if !self.linked(source, target) {
            return self.agenda.after(STEP, Event::SwitchArrives { job });
        }
        if !self.stream_stands(job) {
            return;
        }
        let knows = self.hosts[source].domain.qemu.map_or(0, |qemu| qemu.knows);
        if let Some(qemu) = self.hosts[target].domain.qemu.as_mut() {
            (qemu.memory, qemu.knows) = (Memory::Half, knows);
        }
        self.copy_image(source, target);
        if self.jobs[job].thread == Some(Stage::Performing) {
            self.set_phase(job, Phase::PerformDone);
            self.jobs[job].thread = Some(Stage::Finishing { cancelled: false });
            self.moment(Moment::PerformDone);
            self.send(job, Message::Finish { cancelled: false });
        }
    }

    /// The rest of the memory follows.
    pub(super) fn stream_after_switch(&mut self, job: JobId, left: u64) {
        let target = self.jobs[job].target;
        let half = |qemu: Qemu| qemu.memory == Memory::Half;
        if !self.hosts[target].domain.qemu.is_some_and(half) {
            return self.agenda.after(STEP, Event::Stream { job });
        }
        let left = left.saturating_sub(STEP);
        self.jobs[job].stream = Some(left);
        if left > 0 {
            return self.agenda.after(STEP, Event::Stream { job });
        }
        self.jobs[job].stream = None;
        self.say(|| format!("{} QEMU: has everything of the guest", self.name(target)));
        if let Some(qemu) = self.hosts[target].domain.qemu.as_mut() {
            qemu.memory = Memory::Whole;
        }
        self.complete_at_target(job);
        self.complete_at_source(self.jobs[job].source);
    }

    /// The target's libvirt has waited for all to come, or finds that it has.
    pub(super) fn complete_at_target(&mut self, job: JobId) {
        let target = self.jobs[job].target;
        let runs = self.hosts[target].domain.lives();
        if runs && self.serves(job, Phase::Finish) {
            self.hosts[target].domain.job = None;
            self.moment(Moment::Finished);
            self.lose_answer(target);
            if self.jobs[job].target_open {
                self.send(job, Message::FinishAnswer { runs_there: true });
            }
        } else if runs && self.hosts[target].libvirtd.up {
            let domain = &mut self.hosts[target].domain;
            domain.job = domain.job.filter(|(phase, _)| *phase != Phase::Unattended);
        }
    }

    /// The source's libvirt, with nobody who waits, ends the copy that has been sent.
    pub(super) fn complete_at_source(&mut self, source: HostIx) {
        let here = &self.hosts[source];
        let Some((Phase::Unattended, job)) = here.domain.job else { return };
        let all_sent = self.is_all_sent(job);
        if here.libvirtd.up && self.jobs[job].thread.is_none() && all_sent {
            self.hosts[source].domain.job = None;
            self.end_process(source, "all of it has been sent");
            self.hosts[source].domain.departed = true;
        }
    }

    pub(super) fn is_all_sent(&self, job: JobId) -> bool {
        let Job { target, target_pid, .. } = self.jobs[job];
        self.jobs[job].switched
            && self.hosts[target]
                .domain
                .qemu
                .is_some_and(|qemu| Some(qemu.pid) == target_pid && qemu.memory == Memory::Whole)
    }

    /// The stream between the two is no more.
    pub(super) fn stream_breaks(&mut self, job: JobId) {
        self.jobs[job].stream = None;
        let source = self.jobs[job].source;
        self.tell_half(job);
        let broke = failure(FailureKind::Broken, "the stream broke after the switch");
        if self.jobs[job].thread.is_some() {
            self.post_copy_fails(job, broke);
        } else {
            self.source_half_fails(source);
        }
    }

    /// libvirt's thread on the source gives up; neither half is ended.
    pub(super) fn post_copy_fails(&mut self, job: JobId, why: Failure) {
        self.source_half_fails(self.jobs[job].source);
        self.return_to_client(job, Err(why));
        self.complete_at_source(self.jobs[job].source);
    }

    fn source_half_fails(&mut self, source: HostIx) {
        if let Some(qemu) = self.hosts[source].domain.qemu.as_mut()
            && qemu.cpus == Cpus::PostCopy
        {
            qemu.cpus = Cpus::PostCopyFailed;
            self.say(|| format!("{} libvirtd: post-copy failed", self.name(source)));
            self.moment(Moment::PostCopyFailed);
        }
    }

    /// Migrates with `VIR_MIGRATE_POSTCOPY_RESUME`, once the stream is broken at both ends, as far
    /// as they can be reached.
    pub(crate) fn recover_post_copy(
        &mut self,
        source: HostIx,
        target: HostIx,
        stream: BrokenStream,
    ) -> Result<JobId, Failure> {
        let heard = self.linked(source, target) && self.hosts[target].libvirtd.up;
        if !self.hosts[source].libvirtd.up || !heard {
            return Err(failure(FailureKind::Retry, "libvirtd does not answer"));
        }
        let domain = &self.hosts[source].domain;
        let (Some(qemu), Some((Phase::Unattended, broken))) = (domain.qemu, domain.job) else {
            return Err(failure(FailureKind::Conflict, "it is not in post-copy"));
        };
        if self.jobs[broken].thread.is_some() {
            return Err(failure(FailureKind::Conflict, "it is being gone on with already"));
        }
        if self.jobs[broken].stream.is_some() && stream == BrokenStream::Leave {
            return Err(failure(FailureKind::Conflict, "QEMU says that the migration still runs"));
        }
        self.jobs[broken].stream = None;
        self.tell_half(broken);
        let job = self.jobs.len();
        self.jobs.push(Job {
            source,
            target,
            source_pid: qemu.pid,
            target_pid: self.jobs[broken].target_pid,
            target_life: None,
            source_open: false,
            target_open: false,
            thread: Some(Stage::Connecting),
            stream: None,
            abort: false,
            post_copy: true,
            switched: true,
            goes_on: true,
            sends: true,
            error: None,
            held: Vec::new(),
        });
        self.hosts[source].domain.job = Some((Phase::Unattended, job));
        self.say(|| format!("{} libvirtd: goes on with post-copy, connects", self.name(source)));
        self.agenda.after(2, Event::Connect { job, attempt: 0 });
        Ok(job)
    }

    /// The target's end of a stream that the source's has closed hears of it, once it can.
    pub(crate) fn tell_half(&mut self, job: JobId) {
        let Job { source, target, target_pid, .. } = self.jobs[job];
        let newest = (0..self.jobs.len()).rfind(|of| self.jobs[*of].target_pid == target_pid);
        let over = self.jobs[job].switched && self.jobs[job].stream.is_none();
        if newest != Some(job) || !over || !self.linked(source, target) {
            return;
        }
        if let Some(half) = self.hosts[target].domain.qemu.as_mut()
            && Some(half.pid) == target_pid
            && half.memory == Memory::Half
            && !half.broken
        {
            half.broken = true;
            if half.ran {
                self.hosts[target].domain.job = Some((Phase::Unattended, job));
            }
            self.say(|| format!("{} QEMU: misses the rest of the guest", self.name(target)));
        }
    }

    /// The target's part of it.
    pub(super) fn prepare_to_go_on(&mut self, job: JobId) {
        let Job { target, target_pid, .. } = self.jobs[job];
        let found = self.hosts[target].domain.qemu;
        let outcome = match found {
            Some(half) if Some(half.pid) != target_pid || half.memory != Memory::Half => {
                Err(failure(FailureKind::Refused, "it is not in post-copy there"))
            }
            Some(half) if !half.broken => {
                Err(failure(FailureKind::Refused, "QEMU says that the migration still runs"))
            }
            Some(_) => Ok(()),
            None => Err(failure(FailureKind::Gone, "it is not active there")),
        };
        if outcome.is_ok() {
            let domain = &mut self.hosts[target].domain;
            domain.job = Some((Phase::Finish, job));
            if let Some(half) = domain.qemu.as_mut() {
                half.broken = false;
            }
        }
        self.send(job, Message::Prepared(outcome));
    }

    pub(super) fn stream_goes_on(&mut self, job: JobId) {
        let source = self.jobs[job].source;
        let Some(qemu) = self.hosts[source].domain.qemu.as_mut() else {
            return self.stream_breaks(job);
        };
        qemu.cpus = Cpus::PostCopy;
        self.jobs[job].thread = Some(Stage::Finishing { cancelled: false });
        self.jobs[job].stream = Some(REST);
        self.say(|| format!("{} QEMU: goes on sending", self.name(source)));
        self.agenda.after(STEP, Event::Stream { job });
    }

    /// A libvirtd that was started again finds a guest that had switched.
    pub(super) fn find_post_copy(&mut self, host: HostIx, phase: Phase, job: JobId) -> bool {
        let Some(qemu) = self.hosts[host].domain.qemu else { return false };
        let switched = match qemu.cpus {
            Cpus::PostCopy | Cpus::PostCopyFailed => phase != Phase::Confirm,
            Cpus::Running => self.jobs[job].target == host && phase != Phase::Prepare,
            Cpus::StoppedForMigration | Cpus::StoppedOnArrival => false,
        };
        if !switched {
            return false;
        }
        self.hosts[host].domain.job = Some((Phase::Unattended, job));
        if self.jobs[job].stream.is_none() && !self.is_all_sent(job) {
            self.source_half_fails(host);
        }
        self.complete_at_target(job);
        self.complete_at_source(host);
        true
    }

    /// Of two halves neither is a guest without the other.
    pub(crate) fn note_half_lost(&mut self, host: HostIx, ended: Qemu) {
        let sent = |job: JobId| self.jobs[job].source == host && self.is_all_sent(job);
        let switched = |job: &Job| job.switched && job.target_pid == Some(ended.pid);
        let lost = match ended.memory {
            Memory::Half => true,
            Memory::Sent => !(0..self.jobs.len()).any(sent),
            // libvirt ends one that it has not started, and the source's runs no more.
            Memory::Whole | Memory::Arriving => !ended.ran && self.jobs.iter().any(switched),
        };
        if lost {
            self.killed_by_fault = true;
        }
    }
}
