//! What a run is made of. Everything by chance comes from the seed.

use std::time::Duration;

use drover_model::{GuestId, HostId, Name, Timestamp};
use drover_rules::Rule;

use crate::cluster::Cluster;
use crate::trace::Trace;

/// Named limits of a run.
pub mod limits {
    use std::time::Duration;

    /// Shortest time between two samples.
    pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
    /// Longest time between two samples: an hour is the coarsest history.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
    /// Most turns of the clock: 5 s for half a year.
    pub const MAX_TICKS: u64 = 3_200_000;
    /// Most failures of one run.
    pub const MAX_FAILURES: usize = 10_000;
}

/// What is modelled and not measured, in one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// Standard deviation of a CPU sample, as a part of its value: 0.05 is 5 %.
    pub noise: f64,
    /// Part of its CPU that a guest loses while it moves: page faults of dirty tracking and
    /// the copy itself. A tenth, as in Beloglazov and Buyya 2012.
    pub move_cpu_loss: f64,
    /// Bytes sent for each byte of memory: what the guest writes meanwhile goes again.
    pub dirty_factor: f64,
    /// From the question to the target until it is ready.
    pub offer: Duration,
    /// From the source's end to the guest running on the target.
    pub handover: Duration,
    /// From a host's return to its guests running again, and from an agent's command that
    /// undoes something to its answer.
    pub answer: Duration,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            noise: 0.0,
            move_cpu_loss: 0.1,
            dirty_factor: 1.3,
            offer: Duration::from_millis(500),
            handover: Duration::from_millis(200),
            answer: Duration::from_millis(200),
        }
    }
}

/// A host dies, and comes back with its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub host: HostId,
    /// When, since the start.
    pub at: Duration,
    /// For how long.
    pub down: Duration,
}

/// A move that was made in the recorded time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// When, since the start.
    pub at: Duration,
    /// Which guest.
    pub guest: GuestId,
    /// Where it went.
    pub to: HostId,
    /// Why, as recorded.
    pub cause: Name,
}

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Hosts and guests.
    pub cluster: Cluster,
    /// What guests want.
    pub trace: Trace,
    /// Rules that act.
    pub rules: Vec<Rule>,
    /// Rules whose conditions say what an overload is; they do nothing by themselves.
    pub judges: Vec<Rule>,
    /// Moves to repeat.
    pub replay: Vec<Replayed>,
    /// Hosts that die.
    pub failures: Vec<Failure>,
    /// Constants of the model.
    pub model: Model,
    /// When it begins.
    pub start: Timestamp,
    /// How long it goes on.
    pub duration: Duration,
    /// Between two samples, and between two evaluations.
    pub interval: Duration,
    /// Of everything that happens by chance.
    pub seed: u64,
}

/// Why a run cannot begin.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The interval is out of its limits.
    #[error("the interval must be 1 s to 1 h")]
    Interval,
    /// Nothing to run.
    #[error("the duration must be at least one interval")]
    Duration,
    /// More turns than a run may have.
    #[error("{ticks} intervals are more than 3,200,000: take a longer interval")]
    TooLong {
        /// How many.
        ticks: u64,
    },
    /// More failures than a run may have.
    #[error("{0} host failures are more than 10,000")]
    Failures(usize),
    /// A constant makes no sense.
    #[error("{0}")]
    Model(&'static str),
    /// A failure or a move names what is not there.
    #[error("a {0} names a host or a guest that is not in the cluster")]
    Unknown(&'static str),
}

impl Settings {
    /// Checks the limits.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !(limits::MIN_INTERVAL..=limits::MAX_INTERVAL).contains(&self.interval) {
            return Err(SettingsError::Interval);
        }
        match self.ticks() {
            0 => return Err(SettingsError::Duration),
            ticks if ticks > limits::MAX_TICKS => return Err(SettingsError::TooLong { ticks }),
            _ => {}
        }
        if self.failures.len() > limits::MAX_FAILURES {
            return Err(SettingsError::Failures(self.failures.len()));
        }
        self.model.check()?;
        let host = |id| self.cluster.hosts().iter().any(|host| host.id == id);
        let guest = |id| self.cluster.guests().iter().any(|guest| guest.id == id);
        if !self.failures.iter().all(|failure| host(failure.host)) {
            return Err(SettingsError::Unknown("failure"));
        }
        if !self.replay.iter().all(|moved| host(moved.to) && guest(moved.guest)) {
            return Err(SettingsError::Unknown("recorded move"));
        }
        Ok(())
    }

    /// How many turns the clock makes.
    pub fn ticks(&self) -> u64 {
        let interval = self.interval.as_millis().max(1);
        u64::try_from(self.duration.as_millis() / interval).unwrap_or(u64::MAX)
    }

    /// The same without rules and recorded moves: what would be if nobody moved anything.
    #[must_use]
    pub fn still(&self) -> Self {
        Self { rules: Vec::new(), replay: Vec::new(), ..self.clone() }
    }
}

impl Model {
    fn check(&self) -> Result<(), SettingsError> {
        let wrong = if !(0.0..=1.0).contains(&self.noise) {
            "the noise must be 0 to 1 (a part of each sample)"
        } else if !(0.0..1.0).contains(&self.move_cpu_loss) {
            "the CPU loss of a moving guest must be 0 to below 1"
        } else if !(1.0..=100.0).contains(&self.dirty_factor) {
            "the dirty-page factor must be 1 to 100"
        } else {
            return Ok(());
        };
        Err(SettingsError::Model(wrong))
    }
}

/// An interval for a run of this length, so that it takes seconds and not hours: droverd's
/// own 5 s up to a day, 30 s up to a month, then 5 minutes.
pub fn fitting_interval(duration: Duration) -> Duration {
    let day = Duration::from_secs(86_400);
    if duration <= day {
        Duration::from_secs(5)
    } else if duration <= day * 31 {
        Duration::from_secs(30)
    } else {
        Duration::from_secs(300)
    }
}
