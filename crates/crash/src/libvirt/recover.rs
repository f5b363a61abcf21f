//! The death of a libvirtd, and what it does with the domain when it starts again.

use super::{End, JobId};
use crate::controller::host_ix;
use crate::event::{Event, HostIx};
use crate::host::{Memory, Phase};
use crate::world::World;

impl World {
    /// The daemon is gone, with its threads and connections; QEMU goes on.
    pub(crate) fn lose_libvirtd(&mut self, host: HostIx) {
        let life = self.hosts[host].libvirtd.life;
        self.hosts[host].libvirtd.up = false;
        for job in 0..self.jobs.len() {
            let entry = &mut self.jobs[job];
            let (source, target) = (entry.source, entry.target);
            let (mut told, mut mine) = (None, false);
            if source == host && (entry.thread.is_some() || entry.source_open) {
                (entry.thread, entry.source_open, mine) = (None, false, true);
                told = entry.target_open.then_some(End::Target);
            } else if target == host && entry.target_life == Some(life) && entry.target_open {
                (entry.target_open, mine) = (false, true);
                told = entry.source_open.then_some(End::Source);
            }
            if mine && let (Some(end), true) = (told, self.linked(source, target)) {
                self.agenda.after(1, Event::Closed { job, end });
            }
        }
        self.agent_loses_libvirt(host);
    }

    /// The daemon is back and reads the domain's status file.
    pub(crate) fn libvirtd_up(&mut self, host: HostIx) {
        if !self.hosts[host].power || self.hosts[host].libvirtd.up {
            return;
        }
        self.hosts[host].libvirtd.start();
        self.forget_departure(host);
        self.say(|| format!("{} libvirtd: up", self.name(host)));
        let Some((phase, job)) = self.hosts[host].domain.job.take() else { return };
        if self.hosts[host].domain.qemu.is_none() {
            return;
        }
        self.say(|| format!("{} libvirtd: finds a job in {phase:?}", self.name(host)));
        if self.find_post_copy(host, phase, job) {
            return;
        }
        match phase {
            Phase::Begin | Phase::Unattended => {}
            // "A third party needs to check what to do next."
            Phase::PerformDone => {}
            Phase::Perform => {
                self.cancel_stream(job);
                self.settle_source(host, false);
            }
            // What was to be undefined afterwards is forgotten.
            Phase::Confirm => {
                self.end_process(host, "libvirtd was restarted in Confirm");
                self.hosts[host].domain.departed = true;
            }
            Phase::ConfirmCancelled => self.settle_source(host, false),
            Phase::Prepare => self.end_process(host, "libvirtd was restarted in Prepare"),
            Phase::Finish => {
                if !self.hosts[host].domain.runs() {
                    self.end_process(host, "libvirtd was restarted in Finish");
                }
            }
        }
    }

    /// A daemon that dies keeps no reason of an end. Where it was the only word of where the
    /// guest went, the copy on the target cannot be told from one that is out of date: it is
    /// given up, by the fault that took the word away.
    pub(crate) fn forget_departure(&mut self, host: HostIx) {
        let domain = &mut self.hosts[host].domain;
        let needed = std::mem::take(&mut domain.departed) && domain.defined;
        if needed && host_ix(self.controller.owner.host) == host {
            self.killed_by_fault = true;
        }
    }

    fn cancel_stream(&mut self, job: JobId) {
        self.jobs[job].stream = None;
        let (source, target) = (self.jobs[job].source, self.jobs[job].target);
        let arriving = self.hosts[target].domain.qemu.is_some_and(|qemu| {
            Some(qemu.pid) == self.jobs[job].target_pid && qemu.memory == Memory::Arriving
        });
        if arriving && self.linked(source, target) {
            self.end_process(target, "the stream ended");
        }
    }
}
