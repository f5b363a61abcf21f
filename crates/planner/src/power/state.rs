//! What a turn must know of the turns before it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use drover_model::{HostId, Timestamp};
use serde::{Deserialize, Serialize};

use super::need::Load;
use super::view::{MachineState, View};

/// Turns further apart do not make one window: what was between them is not known.
pub const MAX_GAP: Duration = Duration::from_secs(10 * 60);
/// How long a host is taken to stay off before any has shown it: half a night.
pub const USUAL_STAY: Duration = Duration::from_secs(4 * 3600);
/// Loads further back are forgotten: the longest window of the levels.
const MEMORY: Duration = Duration::from_secs(3600);
/// Stays that are remembered, and how many `USUAL_STAY` counts for beside them.
const STAYS: usize = 30;
const USUAL_COUNTS: usize = 5;

/// Kept between turns. The default knows nothing: then nothing is parked before a whole
/// window has been seen.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Since when turns follow each other without a gap.
    pub(super) watching: Option<Timestamp>,
    /// Since when the load has been too high for the awake hosts.
    pub(super) short: Option<Timestamp>,
    /// When a host was last woken because no move relieved another.
    pub(super) pressed: Option<Timestamp>,
    /// The load at past turns, oldest first.
    pub(super) loads: VecDeque<(Timestamp, Load)>,
    /// Hosts seen asleep, and since when.
    asleep: BTreeMap<HostId, Timestamp>,
    /// How long hosts stayed asleep, oldest first.
    stays: VecDeque<Duration>,
}

impl State {
    /// With what this turn sees.
    pub(super) fn seen(mut self, view: &View, load: &Load, now: Timestamp) -> Self {
        let last = self.loads.back().map(|(at, _)| *at);
        if last.is_none_or(|last| now.since(last) > MAX_GAP || now < last) {
            self = Self { asleep: self.asleep, stays: self.stays, ..Self::default() };
        }
        self.watching.get_or_insert(now);
        self.loads.push_back((now, *load));
        while self.loads.front().is_some_and(|(at, _)| now.since(*at) > MEMORY) {
            self.loads.pop_front();
        }
        for machine in &view.machines {
            match machine.state {
                MachineState::Off { since } => {
                    self.asleep.insert(machine.id, since);
                }
                MachineState::On { .. } | MachineState::Waking { .. } => {
                    if let Some(since) = self.asleep.remove(&machine.id) {
                        self.stays.push_back(now.since(since));
                    }
                }
                MachineState::Leaving { .. }
                | MachineState::Parking { .. }
                | MachineState::Away => {}
            }
        }
        let known: std::collections::BTreeSet<HostId> =
            view.machines.iter().map(|machine| machine.id).collect();
        self.asleep.retain(|id, _| known.contains(id));
        while self.stays.len() > STAYS {
            self.stays.pop_front();
        }
        self
    }

    /// How long a host that is parked now will probably stay so: the median of what was seen,
    /// with a prior that fades.
    pub(super) fn usual_stay(&self) -> Duration {
        let mut stays: Vec<Duration> = self.stays.iter().copied().collect();
        stays.resize(stays.len() + USUAL_COUNTS, USUAL_STAY);
        stays.sort();
        stays[stays.len() / 2]
    }

    /// The loads of the last `window`, this turn's included.
    pub(super) fn within(&self, window: Duration, now: Timestamp) -> impl Iterator<Item = &Load> {
        self.loads.iter().filter(move |(at, _)| now.since(*at) <= window).map(|(_, load)| load)
    }
}
