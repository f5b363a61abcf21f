//! The guest's disk where it is a file of one host, copied with the guest
//! (`drover-agent`'s `images/`). Shared storage has one disk, and nothing here happens.
//!
//! An image knows how much of what the guest wrote it has: the number of the last write. Which
//! operation made it is durable, until the guest runs on it.

use drover_lifecycle::{Failure, FailureKind};

use crate::check::Violation;
use crate::controller::host_ix;
use crate::event::{HostIx, OpIx};
use crate::host::failure;
use crate::world::{HOSTS, World};

/// The disk's file on one host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image {
    /// The last write that it has.
    pub(crate) has: u64,
    /// The operation that made room for it; none once the guest runs on it.
    pub(crate) made_by: Option<OpIx>,
}

impl World {
    pub(crate) fn first_image(&mut self) {
        if self.schedule.local {
            self.hosts[0].image = Some(Image { has: 0, made_by: None });
        }
    }

    /// Target: a place is kept free.
    pub(crate) fn claim_image(&mut self, host: HostIx, operation: OpIx) -> Result<(), Failure> {
        let is_full = self.agenda.now() < self.hosts[host].disk_full_until;
        match self.hosts[host].image {
            _ if !self.schedule.local => Ok(()),
            Some(image) if image.made_by == Some(operation) => Ok(()),
            Some(_) => Err(failure(FailureKind::Refused, "a file is in the way already")),
            None if is_full => Err(failure(FailureKind::Refused, "there is no room")),
            None => {
                self.hosts[host].image = Some(Image { has: 0, made_by: Some(operation) });
                Ok(())
            }
        }
    }

    pub(crate) fn lacks_image(&self, host: HostIx) -> bool {
        self.schedule.local && self.hosts[host].image.is_none()
    }

    /// All of the source's image is on the target.
    pub(crate) fn copy_image(&mut self, source: HostIx, target: HostIx) {
        if !self.schedule.local {
            return;
        }
        if self.hosts[target].domain.runs() {
            self.violated(Violation::DiskInUse, |world| {
                format!("{} is written to from outside", world.name(target))
            });
        }
        let has = self.hosts[source].image.map_or(0, |image| image.has);
        if let Some(image) = self.hosts[target].image.as_mut() {
            image.has = has;
        }
    }

    /// The guest, whose memory knows this write, is about to run on the image here: whether
    /// that has another one.
    pub(crate) fn image_is_stale(&self, host: HostIx) -> bool {
        self.schedule.local && self.hosts[host].image.is_none_or(|image| image.has != self.disk)
    }

    /// The guest has written.
    pub(crate) fn write_image(&mut self, host: HostIx) {
        let disk = self.disk;
        if let Some(image) = self.hosts[host].image.as_mut() {
            image.has = disk;
        }
    }

    /// The guest runs here: what was made for its coming is its own.
    pub(crate) fn keep_image(&mut self, host: HostIx) {
        if let Some(image) = self.hosts[host].image.as_mut() {
            image.made_by = None;
        }
    }

    /// Target: exactly what the operation made goes.
    pub(crate) fn discard_image(&mut self, host: HostIx, operation: OpIx) {
        if self.hosts[host].image.is_some_and(|image| image.made_by == Some(operation)) {
            self.remove_image(host);
        }
    }

    /// Source: the guest is another host's.
    pub(crate) fn remove_departed_image(&mut self, host: HostIx) {
        if self.hosts[host].image.is_none() {
            return;
        }
        if host_ix(self.controller.owner.host) == host {
            self.violated(Violation::DiskLost, |world| {
                format!("{} is the owner, and its disk is removed", world.name(host))
            });
        }
        self.remove_image(host);
    }

    fn remove_image(&mut self, host: HostIx) {
        let Some(removed) = self.hosts[host].image.take() else { return };
        self.say(|| format!("{} agent: removes its image", self.name(host)));
        if self.hosts[host].domain.qemu.is_some() {
            self.violated(Violation::DiskInUse, |world| {
                format!("{} has a process of the guest, and its disk is removed", world.name(host))
            });
        }
        let newest =
            |of: &HostIx| self.hosts[*of].image.is_some_and(|image| image.has == self.disk);
        if removed.has == self.disk && !(0..HOSTS).any(|of| newest(&of)) {
            self.violated(Violation::DiskLost, |world| {
                format!("{} had what nobody else has", world.name(host))
            });
        }
    }

    /// Whether images are where they are not to be, or not where they are.
    pub(crate) fn check_images(&mut self) {
        let owner = host_ix(self.controller.owner.host);
        let left: Vec<HostIx> =
            (0..HOSTS).filter(|host| self.hosts[*host].image.is_some()).collect();
        if self.schedule.local && left != [owner] {
            self.violated(Violation::DiskAstray, |world| {
                let names: String = left.iter().map(|host| world.name(*host)).collect();
                format!("on `{names}`, the owner is {}", world.name(owner))
            });
        }
    }
}
