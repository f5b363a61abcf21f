//! QEMU to QEMU: the guest's memory. It goes on without its daemons until the switch-over,
//! which waits for the source's.

use drover_lifecycle::FailureKind;
use rand::RngExt as _;

use super::{JobId, Message, Stage};
use crate::event::Event;
use crate::host::{Cpus, Memory, Phase, failure};
use crate::schedule::Moment;
use crate::world::World;

/// How often the stream is looked at.
const STEP: u64 = 100;

impl World {
    pub(super) fn is_alive(&self, host: usize, pid: Option<u64>) -> bool {
        self.hosts[host].domain.qemu.is_some_and(|qemu| Some(qemu.pid) == pid)
    }

    /// Whether the stream stands; a broken one is dealt with.
    pub(super) fn stream_stands(&mut self, job: JobId) -> bool {
        let entry = &self.jobs[job];
        let (source, target) = (entry.source, entry.target);
        let source_alive = self.is_alive(source, Some(entry.source_pid));
        let target_alive = self.is_alive(target, entry.target_pid);
        if source_alive && target_alive {
            return true;
        }
        if self.jobs[job].switched {
            self.stream_breaks(job);
            return false;
        }
        self.jobs[job].stream = None;
        if target_alive {
            self.end_process(target, "the stream broke");
        }
        if source_alive {
            self.go_on_after_stream(job);
        }
        if matches!(self.jobs[job].thread, Some(Stage::Performing | Stage::SwitchingOver)) {
            let why = if source_alive { "the stream broke" } else { "domain is not running" };
            self.perform_failed(job, failure(FailureKind::Refused, why));
        }
        false
    }

    /// QEMU lets the guest run again when its migration fails.
    pub(super) fn go_on_after_stream(&mut self, job: JobId) {
        let source = self.jobs[job].source;
        let stopped = self.hosts[source].domain.qemu;
        if stopped.is_some_and(|qemu| qemu.cpus == Cpus::StoppedForMigration) {
            self.run_cpus(source, "QEMU takes the migration back");
        }
    }

    pub(crate) fn stream(&mut self, job: JobId) {
        let Some(left) = self.jobs[job].stream else { return };
        let (source, target) = (self.jobs[job].source, self.jobs[job].target);
        if !self.linked(source, target) {
            return self.agenda.after(STEP, Event::Stream { job });
        }
        if !self.stream_stands(job) {
            return;
        }
        if self.jobs[job].switched {
            return self.stream_after_switch(job, left);
        }
        self.jobs[job].sends = true;
        let thread = self.jobs[job].thread;
        if self.jobs[job].abort && thread == Some(Stage::Performing) {
            self.jobs[job].stream = None;
            self.go_on_after_stream(job);
            self.end_process(target, "the stream ended");
            return self.perform_failed(job, failure(FailureKind::Cancelled, "canceled by client"));
        }
        let left = left.saturating_sub(STEP);
        self.jobs[job].stream = Some(left);
        if left == 0 {
            self.stop_cpus(source);
            if thread == Some(Stage::Performing) {
                self.jobs[job].thread = Some(Stage::SwitchingOver);
                self.moment(Moment::SwitchOver);
                let device_state = self.rng.random_range(5..100);
                return self.agenda.after(device_state, Event::Switched { job });
            }
        }
        self.agenda.after(STEP, Event::Stream { job });
    }

    /// Device state follows; libvirtd has told QEMU to, and QEMU needs it no more.
    pub(crate) fn switched(&mut self, job: JobId) {
        if self.jobs[job].stream.is_none() {
            return;
        }
        let (source, target) = (self.jobs[job].source, self.jobs[job].target);
        if !self.linked(source, target) {
            return self.agenda.after(STEP, Event::Switched { job });
        }
        if !self.stream_stands(job) {
            return;
        }
        let knows = self.hosts[source].domain.qemu.map_or(0, |qemu| qemu.knows);
        if let Some(qemu) = self.hosts[target].domain.qemu.as_mut() {
            (qemu.memory, qemu.knows) = (Memory::Whole, knows);
        }
        self.copy_image(source, target);
        self.jobs[job].stream = None;
        self.say(|| format!("{} QEMU: has everything of the guest", self.name(target)));
        if self.jobs[job].thread == Some(Stage::SwitchingOver) {
            self.set_phase(job, Phase::PerformDone);
            self.jobs[job].thread = Some(Stage::Finishing { cancelled: false });
            self.moment(Moment::PerformDone);
            self.send(job, Message::Finish { cancelled: false });
        }
    }
}
