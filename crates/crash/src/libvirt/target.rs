//! The target's side of the protocol.

use drover_lifecycle::{Failure, FailureKind};
use rand::RngExt as _;

use super::{JobId, Message};
use crate::event::Event;
use crate::host::{Cpus, Memory, Phase, Qemu, failure};
use crate::schedule::{Moment, Network};
use crate::world::World;

impl World {
    pub(super) fn prepare(&mut self, job: JobId) {
        if self.jobs[job].goes_on {
            return self.prepare_to_go_on(job);
        }
        let target = self.jobs[job].target;
        if let Err(why) = self.may_prepare(target) {
            return self.send(job, Message::Prepared(Err(why)));
        }
        let pid = self.new_pid();
        self.jobs[job].target_pid = Some(pid);
        let domain = &mut self.hosts[target].domain;
        domain.qemu = Some(Qemu {
            pid,
            incoming: true,
            cpus: Cpus::StoppedForMigration,
            ran: false,
            memory: Memory::Arriving,
            broken: false,
            knows: 0,
        });
        domain.job = Some((Phase::Prepare, job));
        self.say(|| format!("{} libvirtd: Prepare, starts QEMU", self.name(target)));
        self.moment(Moment::Prepare);
        let start = self.rng.random_range(50..400);
        self.agenda.after(start, Event::Started { job });
    }

    fn may_prepare(&self, target: usize) -> Result<(), Failure> {
        let host = &self.hosts[target];
        let now = self.agenda.now();
        if host.domain.qemu.is_some() {
            return Err(failure(FailureKind::Refused, "domain is already active"));
        }
        if now < host.disk_full_until {
            return Err(failure(FailureKind::Broken, "QEMU: no space left on device"));
        }
        if !host.reaches(Network::Storage, now) || self.lacks_image(target) {
            return Err(failure(FailureKind::Broken, "QEMU cannot open the disk"));
        }
        Ok(())
    }

    /// Whether the target still serves this job by the daemon that began it, in this phase.
    pub(super) fn serves(&self, job: JobId, phase: Phase) -> bool {
        let entry = &self.jobs[job];
        let host = &self.hosts[entry.target];
        host.libvirtd.up
            && entry.target_life == Some(host.libvirtd.life)
            && host.domain.job == Some((phase, job))
    }

    pub(crate) fn started(&mut self, job: JobId) {
        if !self.jobs[job].target_open {
            return;
        }
        let outcome = if self.serves(job, Phase::Prepare) {
            Ok(())
        } else {
            Err(failure(FailureKind::Broken, "QEMU exited while it was started"))
        };
        self.send(job, Message::Prepared(outcome));
    }

    pub(super) fn finish(&mut self, job: JobId, cancelled: bool) {
        let target = self.jobs[job].target;
        if self.serves(job, Phase::Prepare) {
            let can_run = self.hosts[target]
                .domain
                .qemu
                .is_some_and(|qemu| matches!(qemu.memory, Memory::Whole | Memory::Half));
            if can_run && !cancelled {
                self.hosts[target].domain.job = Some((Phase::Finish, job));
                self.moment(Moment::Finish);
                let delay = self.rng.random_range(1..30);
                return self.agenda.after(delay, Event::Finished { job });
            }
            self.hosts[target].domain.job = None;
            self.end_process(target, "Finish says that it is cancelled");
        }
        self.send(job, Message::FinishAnswer { runs_there: false });
    }

    pub(crate) fn finished(&mut self, job: JobId) {
        if !self.serves(job, Phase::Finish) {
            // Its QEMU died meanwhile, or the daemon did, which closes the connection.
            if self.jobs[job].target_open {
                self.send(job, Message::FinishAnswer { runs_there: false });
            }
            return;
        }
        let target = self.jobs[job].target;
        self.hosts[target].domain.defined = true;
        if self.jobs[job].post_copy || !self.habits.arrives_paused {
            if !self.run_cpus(target, "libvirt finishes the migration") {
                self.hosts[target].domain.defined = false;
                self.end_process(target, "it cannot take the lease");
                return self.send(job, Message::FinishAnswer { runs_there: false });
            }
            if self.hosts[target].domain.lives() {
                return self.complete_at_target(job);
            }
            // It answers when all has come.
            return self.moment(Moment::RunsAhead);
        }
        let domain = &mut self.hosts[target].domain;
        domain.job = None;
        if let Some(qemu) = domain.qemu.as_mut() {
            qemu.cpus = Cpus::StoppedOnArrival;
        }
        self.say(|| format!("{} libvirtd: Finish; the guest stays paused", self.name(target)));
        self.moment(Moment::Finished);
        self.lose_answer(target);
        if self.jobs[job].target_open {
            self.send(job, Message::FinishAnswer { runs_there: true });
        }
    }

    /// Until Finish the target's copy lives as long as the connection does.
    pub(super) fn target_end_closed(&mut self, job: JobId) {
        if self.serves(job, Phase::Prepare) {
            let target = self.jobs[job].target;
            self.hosts[target].domain.job = None;
            self.end_process(target, "the source's libvirtd is gone");
        }
    }
}
