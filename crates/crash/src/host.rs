//! One host: power, networks, its libvirtd with the guest's domain, and its agent.

use drover_lifecycle::Failure;
use drover_model::{Epoch, GuestState};

use crate::agenda::At;
use crate::agent::AgentState;
use crate::images::Image;
use crate::libvirt::JobId;
use crate::schedule::Network;

/// A daemon that may be killed; `life` counts its starts, so that what an earlier one
/// had in hand is known to be lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Daemon {
    pub(crate) up: bool,
    pub(crate) life: u32,
}

impl Daemon {
    pub(crate) const fn started() -> Self {
        Self { up: true, life: 0 }
    }

    pub(crate) const fn start(&mut self) {
        self.up = true;
        self.life += 1;
    }
}

/// Why vCPUs stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cpus {
    Running,
    /// A migration brings it or has taken it.
    StoppedForMigration,
    /// It arrived with `VIR_MIGRATE_PAUSED`.
    StoppedOnArrival,
    /// It has switched to post-copy and sends the rest: QEMU lets it run no more.
    PostCopy,
    /// The same, and libvirt knows that the transfer broke, or has lost sight of it.
    PostCopyFailed,
}

/// What a QEMU process has of the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Whole,
    Arriving,
    /// Of the source, once it has switched to post-copy.
    Sent,
    /// Of the target, from the switch to post-copy until all is there.
    Half,
}

/// A QEMU process of the guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Qemu {
    pub(crate) pid: u64,
    /// It was started to receive a migration.
    pub(crate) incoming: bool,
    pub(crate) cpus: Cpus,
    pub(crate) ran: bool,
    pub(crate) memory: Memory,
    /// What brings the rest of its memory has broken.
    pub(crate) broken: bool,
    /// The version of the guest's disk that its memory knows of.
    pub(crate) knows: u64,
}

/// libvirt's phases of a job, as its status file keeps them over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Begin,
    Perform,
    PerformDone,
    Confirm,
    ConfirmCancelled,
    /// After the switch to post-copy nobody waits for the job's end.
    Unattended,
    /// Of the target.
    Prepare,
    /// Of the target.
    Finish,
}

/// The guest's domain as one libvirtd has it.
#[derive(Debug, Default)]
pub(crate) struct Domain {
    pub(crate) qemu: Option<Qemu>,
    /// Its definition is on the host's disk.
    pub(crate) defined: bool,
    /// libvirtd ended it here itself, because it had been sent.
    pub(crate) departed: bool,
    pub(crate) job: Option<(Phase, JobId)>,
}

impl Domain {
    /// What libvirtd says of it.
    pub(crate) fn state(&self) -> Option<GuestState> {
        match self.qemu.map(|qemu| qemu.cpus) {
            None if self.defined && self.departed => Some(GuestState::Departed),
            None => self.defined.then_some(GuestState::ShutOff),
            Some(Cpus::Running) if self.is_hopeless() => Some(GuestState::PostCopyFailed),
            Some(Cpus::Running) => Some(GuestState::Running),
            Some(Cpus::PostCopy) => Some(GuestState::PostCopy),
            Some(Cpus::PostCopyFailed) => Some(GuestState::PostCopyFailed),
            Some(Cpus::StoppedForMigration) => Some(GuestState::PausedForMigration),
            Some(Cpus::StoppedOnArrival) => Some(GuestState::Paused),
        }
    }

    /// It runs until it misses what has not come.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.qemu.is_some_and(|qemu| qemu.memory == Memory::Half && qemu.broken)
    }

    /// All of the guest is here, and runs.
    pub(crate) fn lives(&self) -> bool {
        self.runs() && self.qemu.is_some_and(|qemu| qemu.memory == Memory::Whole)
    }

    pub(crate) fn runs(&self) -> bool {
        self.qemu.is_some_and(|qemu| qemu.cpus == Cpus::Running)
    }
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: char,
    pub(crate) power: bool,
    pub(crate) libvirtd: Daemon,
    pub(crate) domain: Domain,
    pub(crate) agent: AgentState,
    /// Survives everything: the agent's journal.
    pub(crate) epoch_seen: Option<Epoch>,
    /// The same: the last epoch under which a migration was begun, or told to be over.
    pub(crate) spent: Option<Epoch>,
    /// Until when each network is cut.
    cut_until: [At; 3],
    /// Since when nothing of this host reaches the migration network.
    pub(crate) silent_since: Option<At>,
    pub(crate) disk_full_until: At,
    /// The guest's disk, where that is a file of one host.
    pub(crate) image: Option<Image>,
}

impl Host {
    pub(crate) fn new(name: char) -> Self {
        Self {
            name,
            power: true,
            libvirtd: Daemon::started(),
            domain: Domain::default(),
            agent: AgentState::new(),
            epoch_seen: None,
            spent: None,
            cut_until: [0; 3],
            silent_since: None,
            disk_full_until: 0,
            image: None,
        }
    }

    pub(crate) const fn cut(&mut self, network: Network, until: At) {
        let known = &mut self.cut_until[network as usize];
        if *known < until {
            *known = until;
        }
    }

    pub(crate) const fn heal(&mut self) {
        self.cut_until = [0; 3];
    }

    pub(crate) const fn reaches(&self, network: Network, now: At) -> bool {
        self.power && now >= self.cut_until[network as usize]
    }
}

/// A failure as the code under test has it.
pub(crate) fn failure(kind: drover_lifecycle::FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.to_owned() }
}
