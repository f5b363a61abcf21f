//! libvirt 9.0's peer-to-peer migration, protocol version 3, between modelled daemons.
//!
//! ```text
//!  source libvirtd            target libvirtd
//!  Begin ── Prepare ────────► starts QEMU with -incoming
//!  Perform: QEMU ═ memory ══► QEMU           vCPUs of the source stop at the end
//!  PerformDone ── Finish ───► vCPUs stay stopped (PAUSED), definition stored
//!  Confirm: kills its QEMU ◄─ answer
//! ```
//!
//! A job that permits post-copy begins the same way. Once it is switched, Finish starts the
//! target's vCPUs and is answered when all has come (`post_copy`).
//!
//! A link that is silent for 25 to 30 s counts as closed at either end; a process that dies
//! closes its connections at once. What a daemon finds when it starts again is in `recover`.

mod calls;
mod job;
mod post_copy;
mod recover;
mod stream;
mod target;

use drover_lifecycle::Failure;

use crate::agenda::At;
use crate::event::HostIx;

/// A job, by its place.
pub(crate) type JobId = usize;

/// One end of a connection between two daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Target,
}

/// What two daemons say to each other.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Prepare,
    Prepared(Result<(), Failure>),
    Finish { cancelled: bool },
    FinishAnswer { runs_there: bool },
}

/// Where the source's thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    Preparing,
    Performing,
    SwitchingOver,
    Finishing { cancelled: bool },
    Confirming,
}

/// One migration as the two libvirtds know it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) source: HostIx,
    pub(crate) target: HostIx,
    pub(crate) source_pid: u64,
    pub(crate) target_pid: Option<u64>,
    /// The target daemon's start that the source is connected to.
    pub(crate) target_life: Option<u32>,
    pub(crate) source_open: bool,
    pub(crate) target_open: bool,
    /// The source's thread; none when it has ended or died.
    pub(crate) thread: Option<Stage>,
    /// What is still to be sent, in milliseconds of sending; none when no stream runs.
    pub(crate) stream: Option<At>,
    pub(crate) abort: bool,
    /// It permits post-copy, so the guest does not arrive paused.
    pub(crate) post_copy: bool,
    /// It has been switched; the target has what it needs to run only from `Memory::Half` on.
    pub(crate) switched: bool,
    /// It goes on with one that broke after its switch.
    pub(crate) goes_on: bool,
    /// Bytes have gone over.
    pub(crate) sends: bool,
    pub(crate) error: Option<Failure>,
    /// Messages that a silent link holds.
    pub(crate) held: Vec<Message>,
}
