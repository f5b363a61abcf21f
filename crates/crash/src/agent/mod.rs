//! The agent of one host: what `drover-agent` does, around the same decisions.
//!
//! Its operations and its session are lost when it is killed; its epoch journal is not.

mod commands;
mod departures;
mod post_copy;

use drover_lifecycle::Failure;
use drover_lifecycle::recovery::Broken;
use drover_model::Epoch;

use crate::agenda::At;
use crate::event::{Command, HostIx, OpIx};
use crate::host::Daemon;
use crate::libvirt::JobId;

/// How far a migration is, as the agent has told or would tell it.
#[derive(Debug, Clone)]
pub(crate) enum Status {
    Running,
    SourceGone,
    Finished,
    Copied,
    Failed(Failure),
}

impl Status {
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Finished | Self::Copied | Self::Failed(_))
    }
}

/// What waits for a migration's end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    /// The call is made once the watch over the process is known to hold.
    Sighting { pid: Option<u64>, post_copy: bool },
    /// Disks and definition of a guest that is shut off are copied.
    Copying,
    /// The call to libvirt has been made.
    Departing { job: JobId, pid: Option<u64> },
    /// A transfer that broke after the switch is gone on with every 5 s; the call under way.
    Recovering { job: Option<JobId>, broken: Broken },
    /// Nobody here waits for the job: it is looked at again and again.
    Following {
        watches: Option<u64>,
        process_gone: bool,
        quiet: u32,
        off_since: Option<At>,
        turn: u32,
    },
}

/// A migration that this agent knows of.
#[derive(Debug, Clone)]
pub(crate) struct Departure {
    pub(crate) operation: OpIx,
    pub(crate) epoch: Epoch,
    pub(crate) status: Status,
    pub(crate) cancel: bool,
    pub(crate) target: HostIx,
    pub(crate) wishes: Wishes,
    /// What libvirt said when the job ended.
    pub(crate) why: Option<Failure>,
    pub(crate) task: Task,
}

/// What is known of the switch to post-copy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// The controller wants it.
    pub(crate) to_switch: bool,
    /// Whether the running job permits it; none where another run of this agent began it.
    pub(crate) job_permits: Option<bool>,
    pub(crate) switched: bool,
    pub(crate) tries: u32,
    /// What was left to be sent at the last look.
    pub(crate) left: Option<At>,
    /// When the controller was told that it is wanted, and since when the transfer is watched.
    pub(crate) told: Option<At>,
    pub(crate) watched_since: At,
}

impl Departure {
    fn new(command: Command, status: Status, task: Task, now: At) -> Self {
        let Command { operation, epoch, target, post_copy, .. } = command;
        let wishes = Wishes { to_switch: post_copy, watched_since: now, ..Wishes::default() };
        Self { operation, epoch, status, cancel: false, target, wishes, why: None, task }
    }
}

/// A resume that waits between its attempts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) id: u64,
    pub(crate) command: Command,
    pub(crate) deadline: At,
    pub(crate) attempt: u32,
}

/// One agent.
#[derive(Debug)]
pub(crate) struct AgentState {
    pub(crate) daemon: Daemon,
    pub(crate) departures: Vec<Departure>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) session: Option<u64>,
}

impl AgentState {
    pub(crate) const fn new() -> Self {
        Self { daemon: Daemon::started(), departures: Vec::new(), waits: Vec::new(), session: None }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.departures.iter().any(|departure| !departure.status.is_over())
    }
}
