//! How patient a wake and a park are.

use std::ops::RangeInclusive;
use std::time::Duration;

use drover_model::WakeMethod;
use serde::{Deserialize, Serialize};

/// Whether pauses between tries grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pauses {
    /// All alike.
    #[default]
    Even,
    /// Each twice the one before, up to [`WakeSettings::LONGEST_PAUSE`].
    Doubling,
}

/// How a host is woken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeSettings {
    /// Ways to wake it, each once. Tries take turns among them; one that cannot be carried out
    /// gives its turn to the next at once.
    pub methods: Vec<WakeMethod>,
    /// How often.
    pub tries: u32,
    /// Between two tries.
    pub pause: Duration,
    /// Whether pauses grow.
    pub pauses: Pauses,
    /// From the request to the proof; then it has failed.
    pub deadline: Duration,
}

impl WakeSettings {
    /// Tries by default.
    pub const TRIES: u32 = 12;
    /// Seconds between two tries, by default.
    pub const PAUSE: Duration = Duration::from_secs(10);
    /// Servers test themselves for two to four minutes before they boot.
    pub const DEADLINE: Duration = Duration::from_secs(300);
    /// More tries tell nothing that fewer have not told.
    pub const MOST_TRIES: RangeInclusive<u32> = 1..=100;
    /// Shorter, a try cannot show; longer, nobody waits for it.
    pub const PAUSES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
    /// The shortest lets a virtual machine boot; whoever needs more than an hour looks himself.
    pub const DEADLINES: RangeInclusive<Duration> =
        Duration::from_secs(10)..=Duration::from_secs(3600);
    /// Pauses that double grow no longer than this.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(120);

    /// The defaults with these ways to wake.
    pub const fn by(methods: Vec<WakeMethod>) -> Self {
        Self {
            methods,
            tries: Self::TRIES,
            pause: Self::PAUSE,
            pauses: Pauses::Even,
            deadline: Self::DEADLINE,
        }
    }

    /// The pause after try `number`, the first being 1.
    pub fn pause_after(&self, number: u32) -> Duration {
        match self.pauses {
            Pauses::Even => self.pause,
            Pauses::Doubling => {
                let doublings = number.saturating_sub(1).min(16);
                let grown = self.pause.saturating_mul(1 << doublings);
                grown.min(Self::LONGEST_PAUSE.max(self.pause))
            }
        }
    }
}

/// How long a host may take to switch off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkSettings {
    /// From the order to switch off to the proof that it is off.
    pub deadline: Duration,
    /// Where no BMC tells: an agent that was told to switch its host off and has been silent
    /// for so long is taken for off.
    pub silence: Duration,
}

impl ParkSettings {
    /// systemd gives services 90 s to stop; several may use it one after the other.
    pub const DEADLINE: Duration = Duration::from_secs(300);
    /// So many times as long as a host takes to count as unreachable.
    pub const SILENCES: u32 = 3;
    /// An agent that says no because of a guest is told again for so long: what it tidies up
    /// after a move takes seconds, and a guest that it has and nobody knows shows up by then.
    pub const NOT_NOW_PATIENCE: Duration = Duration::from_secs(60);
}

impl Default for ParkSettings {
    /// 5 minutes, and three times 15 s.
    fn default() -> Self {
        Self { deadline: Self::DEADLINE, silence: Duration::from_secs(45) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_even_or_double_up_to_a_limit() {
        let even = WakeSettings::by(vec![WakeMethod::Bmc]);
        assert_eq!(even.pause_after(12), Duration::from_secs(10));
        let doubling = WakeSettings { pauses: Pauses::Doubling, ..even };
        let seconds: Vec<u64> = (1..7).map(|n| doubling.pause_after(n).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 120, 120]);
        let long = WakeSettings { pause: Duration::from_secs(600), ..doubling };
        assert_eq!(long.pause_after(3), Duration::from_secs(600));
    }
}
