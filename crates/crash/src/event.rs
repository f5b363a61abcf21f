//! Everything that can be due. `life` says which start of a program an event belongs to.

use drover_lifecycle::{Effect, Failure};
use drover_model::{Epoch, MigrationMode};

use crate::agenda::At;
use crate::libvirt::{End, JobId, Message};
use crate::link::Said;

/// A host, by its place.
pub(crate) type HostIx = usize;

/// An operation, by its place.
pub(crate) type OpIx = usize;

/// A command of the controller on its way to an agent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    pub(crate) operation: OpIx,
    pub(crate) epoch: Epoch,
    pub(crate) effect: Effect,
    pub(crate) target: HostIx,
    pub(crate) mode: MigrationMode,
    /// The source is to switch.
    pub(crate) post_copy: bool,
    /// libvirt may have let the target's copy run.
    pub(crate) may_have_run: bool,
}

#[derive(Debug)]
pub(crate) enum Event {
    Inject(usize),
    Launch(usize),
    PowerOn(HostIx),
    LibvirtdUp(HostIx),
    AgentUp(HostIx),
    ControllerUp,
    NetworkBack(HostIx),
    Quiet,

    SayAgain { life: u32 },
    WatchHosts { life: u32 },
    Ask { life: u32, host: HostIx, command: Command },

    Dial { host: HostIx, life: u32, attempt: u32 },
    SessionSilent { host: HostIx, session: u64, since: At },
    ToAgent { host: HostIx, session: Option<u64>, command: Command },
    ToController { host: HostIx, life: Option<u32>, said: Said },

    Depart { host: HostIx, life: u32, operation: OpIx },
    Copied { host: HostIx, life: u32, operation: OpIx },
    LookForProgress { host: HostIx, life: u32, operation: OpIx },
    Look { host: HostIx, life: u32, operation: OpIx, turn: u32 },
    Recover { host: HostIx, life: u32, operation: OpIx },
    AttemptResume { host: HostIx, life: u32, wait: u64 },
    ExitSeen { host: HostIx, life: u32 },
    JobReturned { host: HostIx, life: u32, job: JobId, outcome: Result<(), Failure> },

    Connect { job: JobId, attempt: usize },
    Arrives { job: JobId, message: Message },
    Started { job: JobId },
    Stream { job: JobId },
    Switched { job: JobId },
    SwitchArrives { job: JobId },
    Finished { job: JobId },
    Confirmed { job: JobId },
    Closed { job: JobId, end: End },
    Keepalive { job: JobId, end: End, since: At },
}
