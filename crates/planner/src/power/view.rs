//! What a decision looks at.

use std::time::Duration;

use drover_model::{HostId, Timestamp};
use serde::{Deserialize, Serialize};

use super::level::PowerLevel;
use super::schedule::Window;
use crate::consolidate::LoadView;

/// Whether a host sleeps, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum MachineState {
    /// It is up and takes guests.
    On {
        /// Since when.
        since: Timestamp,
    },
    /// It was told to wake and is not ready.
    Waking {
        /// Since when.
        since: Timestamp,
    },
    /// It is emptied by this policy's wish, and can be called back at once.
    Leaving {
        /// Since when.
        since: Timestamp,
    },
    /// It is emptied by somebody else's wish, or shuts down.
    Parking {
        /// Since when.
        since: Timestamp,
    },
    /// It sleeps.
    Off {
        /// Since when.
        since: Timestamp,
    },
    /// It is neither: in maintenance, unreachable or broken. It is left alone and counts for
    /// nothing.
    Away,
}

/// A host as a machine that draws power.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Which host.
    pub id: HostId,
    /// Whether it sleeps.
    pub state: MachineState,
    /// It stays on for at least so long.
    pub min_on: Duration,
    /// It stays off for at least so long.
    pub min_off: Duration,
    /// From the wish to the readiness for guests, learned.
    pub wake_time: Duration,
    /// What going down and coming back draw together without serving anybody, Wh.
    pub cycle_wh: f64,
    /// What it draws while it sleeps, W.
    pub off_watts: f64,
    /// Why it cannot be parked: no proof of waking, a rule, a guest that cannot move.
    pub may_not_park: Option<String>,
    /// Why it cannot be woken.
    pub may_not_wake: Option<String>,
    /// The policy leaves it alone.
    pub excluded: bool,
}

impl Machine {
    /// Whether it serves guests, or will without being asked again.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, MachineState::On { .. } | MachineState::Waking { .. })
    }

    /// Whether it is on its way to sleep.
    pub(super) const fn is_going(&self) -> bool {
        matches!(self.state, MachineState::Leaving { .. } | MachineState::Parking { .. })
    }

    /// Whether it needs not be woken, only called back.
    pub(super) const fn is_leaving(&self) -> bool {
        matches!(self.state, MachineState::Leaving { .. })
    }

    /// From the wish to the readiness for guests.
    pub(super) const fn ready_after(&self) -> Duration {
        if self.is_leaving() { Duration::ZERO } else { self.wake_time }
    }

    /// Whether it serves guests.
    pub(super) const fn is_on(&self) -> bool {
        matches!(self.state, MachineState::On { .. })
    }
}

/// What history says of the load of all guests together in a stretch of time to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub until: Timestamp,
    /// Mean, compute units.
    pub mean: f64,
    /// What it stays below for 95 % of the time, compute units.
    pub p95: f64,
}

impl Expected {
    /// The coming day by what the load of all guests was before, compute units, oldest first;
    /// empty where it shows no pattern.
    pub fn day(past: &[(Timestamp, f64)], now: Timestamp) -> Vec<Self> {
        const DAY: Duration = Duration::from_secs(86_400);
        let quarters = drover_rules::course(past, now, DAY).into_iter();
        let expected = quarters.map(|(from, of)| Self {
            from,
            until: from.plus(drover_rules::COURSE_STEP),
            mean: of.mean,
            p95: of.p95,
        });
        expected.collect()
    }
}

/// The cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Guests and hosts by number.
    pub load: LoadView,
    /// The hosts as machines, in the order of `load.hosts`.
    pub machines: Vec<Machine>,
    /// The load to come, in order of time; empty where history shows no pattern.
    pub course: Vec<Expected>,
}

/// What the operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerPolicy {
    /// How eager.
    pub level: PowerLevel,
    /// Hosts awake beyond what the load needs.
    pub reserve: usize,
    /// Hosts whose loss the awake ones must survive.
    pub survive_failures: u8,
    /// When parking is allowed, and when hosts must be awake.
    pub schedule: Vec<Window>,
    /// Seconds that the schedule's time is ahead of UTC.
    pub utc_offset_s: i32,
}

impl PowerPolicy {
    /// A level and nothing else.
    pub const fn new(level: PowerLevel) -> Self {
        Self { level, reserve: 0, survive_failures: 0, schedule: Vec::new(), utc_offset_s: 0 }
    }
}
