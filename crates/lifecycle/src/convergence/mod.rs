//! Brings a live migration to its end while it runs: from job statistics to advice.
//!
//! ```text
//!  first pass ─► watching ─stalled─► more bandwidth, if there is any to spare
//!                   ▲                    │
//!                   │                    ▼
//!                   └──── downtime limit raised, up to the guest's maximum
//!                                        │ the maximum is not enough
//!                                        ▼
//!                 post-copy, or a forced finish, or a wait for a quieter moment
//!                                                        │ deadline
//!                                                        ▼
//!                                             given up, to be tried again later
//! ```
//!
//! QEMU ends a migration by itself as soon as a pass over the guest's memory leaves no more
//! than can be sent within its downtime limit. What is decided here is only that limit, and
//! what happens when no limit that the guest allows would do. The reasons are in
//! docs/decisions/0009.
//!
//! Nothing here knows libvirt, a clock or who carries the advice out. One who does not carry
//! it out says so by [`Convergence::refused`].

mod passes;
mod remedy;

use std::fmt;

use drover_model::{MigrationProgress, MigrationSettings, PostCopy};

use passes::Passes;

/// The downtime limit that a migration begins with, milliseconds: QEMU's own default. Clients
/// do not notice a third of a second, and most guests need less.
pub const FIRST_DOWNTIME_MS: u64 = 300;

/// What is allowed to end a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The downtime limit that the job was started with, milliseconds.
    pub first_downtime_ms: u64,
    /// The guest's maximum, milliseconds: never exceeded, but for a forced finish.
    pub max_downtime_ms: u64,
    /// Whether the guest may run on the target before its memory is there.
    pub post_copy: PostCopy,
    /// What happens when nothing else ends it.
    pub when_stuck: WhenStuck,
    /// Time for the whole job, milliseconds; none lets the first pass decide.
    pub timeout_ms: Option<u64>,
    /// The job is capped below this, and may have as much when it does not end, MiB/s.
    pub spare_bandwidth_mib_s: Option<u64>,
    /// What the link is known to carry, MiB/s. QEMU reckons with the cap when it plans the
    /// pause, and drops it when the guest stands still: the pause is as much shorter.
    pub link_mib_s: Option<u64>,
}

/// What happens to a migration that does not end within the guest's maximum downtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenStuck {
    /// The guest stays where it is.
    GiveUp,
    /// The guest is paused for as long as it takes.
    ForceFinish,
}

impl Limits {
    /// What a migration's settings allow.
    pub fn of(settings: &MigrationSettings) -> Self {
        Self {
            first_downtime_ms: settings.max_downtime_ms.min(FIRST_DOWNTIME_MS),
            max_downtime_ms: settings.max_downtime_ms,
            post_copy: settings.post_copy,
            when_stuck: if settings.quickly_finish {
                WhenStuck::ForceFinish
            } else {
                WhenStuck::GiveUp
            },
            timeout_ms: settings.timeout_s.map(|seconds| seconds.saturating_mul(1000)),
            spare_bandwidth_mib_s: None,
            link_mib_s: None,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Set the downtime limit, milliseconds.
    SetDowntime(u64),
    /// Set the cap on the transfer, MiB/s.
    SetBandwidth(u64),
    /// Let the guest run on the target; pages follow as it needs them.
    SwitchToPostCopy,
    /// Pause the guest, so that nothing is dirtied any more.
    Pause,
    /// End the job; the guest goes on where it is.
    Abort,
    /// Nothing: it is only told.
    Wait,
}

/// What is to be done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What.
    pub action: Action,
    /// Why, in a sentence for an operator.
    pub reason: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::SetDowntime(ms) => write!(f, "downtime limit {ms} ms: ")?,
            Action::SetBandwidth(cap) => write!(f, "cap {cap} MiB/s: ")?,
            Action::SwitchToPostCopy => write!(f, "to be switched to post-copy: ")?,
            Action::Pause => write!(f, "paused to finish: ")?,
            Action::Abort => write!(f, "given up: ")?,
            Action::Wait => {}
        }
        f.write_str(&self.reason)
    }
}

/// How far the remedies have been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The limit may still be raised.
    Watching,
    /// The limit is beyond the guest's maximum, as a forced finish allows.
    Forcing,
    /// It waits for a quieter moment, until the deadline.
    Waiting,
    /// The guest is paused: only the end of all sending is watched.
    Paused,
    /// Nothing more is advised.
    Done,
}

/// What is known of one running migration.
#[derive(Debug, Clone, PartialEq)]
pub struct Convergence {
    limits: Limits,
    /// The downtime limit in force, milliseconds.
    limit_ms: u64,
    /// The one before, should the new one not be set.
    before_ms: u64,
    passes: Passes,
    stage: Stage,
    /// Remedies since the start that did not end it.
    remedies: u32,
    bandwidth_raised: bool,
    told_throttle: bool,
}

impl Convergence {
    /// A migration that begins.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            limit_ms: limits.first_downtime_ms,
            before_ms: limits.first_downtime_ms,
            passes: Passes::new(),
            stage: Stage::Watching,
            remedies: 0,
            bandwidth_raised: false,
            told_throttle: false,
        }
    }

    /// What is allowed changes while it runs. Whoever changes the maximum sets the limit to it.
    #[must_use]
    pub fn allowing(&self, limits: Limits) -> Self {
        let mut next = Self { limits, ..self.clone() };
        if limits.max_downtime_ms != self.limits.max_downtime_ms {
            next.limit_ms = limits.max_downtime_ms;
            next.before_ms = next.limit_ms;
        }
        if next.stage == Stage::Waiting {
            next.stage = Stage::Watching;
        }
        next
    }

    /// The downtime limit in force, milliseconds.
    pub const fn limit_ms(&self) -> u64 {
        self.limit_ms
    }

    /// When it is given up, in milliseconds of the job; none while that is not known.
    pub fn deadline_ms(&self) -> Option<u64> {
        remedy::deadline_ms(&self.limits, &self.passes)
    }

    /// What follows from a new look at the job. Looks may come at any rate: the more often,
    /// the better, and one at the start of every pass.
    #[must_use]
    pub fn step(&self, sample: &MigrationProgress) -> (Self, Vec<Advice>) {
        let mut next = self.clone();
        next.passes.look(sample, next.limit_ms);
        let advice = next.decide();
        (next, advice)
    }

    /// An action was not carried out; the migration goes on without it.
    #[must_use]
    pub fn refused(&self, action: Action) -> Self {
        let mut next = self.clone();
        match action {
            Action::SwitchToPostCopy => {
                next.limits.post_copy = PostCopy::Never;
                next.stage = Stage::Watching;
            }
            Action::Pause => {
                next.limits.when_stuck = WhenStuck::GiveUp;
                next.stage = Stage::Watching;
            }
            // The next stall asks for it again.
            Action::SetDowntime(_) => next.limit_ms = next.before_ms,
            Action::SetBandwidth(_) | Action::Abort | Action::Wait => {}
        }
        next
    }
}
