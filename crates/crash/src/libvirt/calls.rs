//! What an agent asks of its libvirtd, with the answers of the hypervisor port.

use drover_lifecycle::{Failure, FailureKind};
use drover_model::GuestState;

use crate::event::HostIx;
use crate::host::{Cpus, Memory, Qemu, failure};
use crate::schedule::Network;
use crate::world::{DISCARDED, World};

impl World {
    /// The guest's state, and whether a job of it runs.
    pub(crate) fn look_at(&self, host: HostIx) -> Result<(Option<GuestState>, bool), Failure> {
        let here = &self.hosts[host];
        if !here.libvirtd.up {
            return Err(failure(FailureKind::Retry, "libvirtd does not answer"));
        }
        let job = here.domain.qemu.is_some() && here.domain.job.is_some();
        Ok((here.domain.state(), job))
    }

    pub(crate) fn abort_job(&mut self, host: HostIx) {
        if !self.hosts[host].libvirtd.up {
            return;
        }
        if let Some((_, job)) = self.hosts[host].domain.job
            && self.jobs[job].source == host
            && !self.jobs[job].switched
        {
            self.jobs[job].abort = true;
        }
    }

    pub(crate) fn resume_domain(&mut self, host: HostIx) -> Result<(), Failure> {
        let now = self.agenda.now();
        let (state, _) = self.look_at(host)?;
        let here = &self.hosts[host];
        let Some(qemu) = here.domain.qemu else {
            return Err(match state {
                None => failure(FailureKind::Gone, "no such guest on this host"),
                Some(_) => failure(FailureKind::Conflict, "domain is not running"),
            });
        };
        if qemu.memory == Memory::Half {
            return Err(failure(FailureKind::Conflict, "half of its memory is on its way"));
        }
        if qemu.cpus == Cpus::Running {
            return Ok(());
        }
        if matches!(qemu.cpus, Cpus::PostCopy | Cpus::PostCopyFailed) {
            return Err(failure(FailureKind::Conflict, "it has switched to post-copy"));
        }
        if here.domain.job.is_some() || qemu.memory == Memory::Arriving {
            return Err(failure(FailureKind::Conflict, "a migration job runs"));
        }
        if !here.reaches(Network::Storage, now) || now < self.locked_until {
            return Err(failure(FailureKind::Broken, "QEMU cannot take the disk"));
        }
        self.check_asked(host);
        if self.run_cpus(host, "its agent asked for it") {
            Ok(())
        } else {
            Err(failure(FailureKind::Broken, "QEMU cannot take the lease"))
        }
    }

    /// Starts the guest from its definition.
    pub(crate) fn boot_domain(&mut self, host: HostIx) -> Result<(), Failure> {
        let now = self.agenda.now();
        let here = &self.hosts[host];
        let has_disk = here.reaches(Network::Storage, now) && now >= self.locked_until;
        if !has_disk || now < here.disk_full_until || self.lacks_image(host) {
            return Err(failure(FailureKind::Broken, "QEMU cannot open the disk"));
        }
        let pid = self.new_pid();
        self.hosts[host].domain.defined = true;
        self.hosts[host].domain.qemu = Some(Qemu {
            pid,
            incoming: false,
            cpus: Cpus::StoppedOnArrival,
            ran: false,
            memory: Memory::Whole,
            broken: false,
            knows: self.disk,
        });
        (self.killed_by_fault, self.meant_to_run) = (false, true);
        self.check_asked(host);
        self.run_cpus(host, "it is started from its definition");
        Ok(())
    }

    /// Destroys a copy that arrived here and never ran.
    pub(crate) fn discard_domain(&mut self, host: HostIx) -> Result<(), Failure> {
        let (state, _) = self.look_at(host)?;
        let Some(state) = state else { return Ok(()) };
        let arrived = self.hosts[host]
            .domain
            .qemu
            .is_some_and(|qemu| qemu.incoming && !qemu.ran && qemu.cpus != Cpus::Running);
        if !arrived && !self.habits.discards_anything {
            let message = format!("the guest here is {}", state.as_str());
            return Err(failure(FailureKind::Refused, &message));
        }
        self.hosts[host].domain.defined = false;
        self.hosts[host].domain.job = None;
        self.end_process(host, DISCARDED);
        Ok(())
    }
}
