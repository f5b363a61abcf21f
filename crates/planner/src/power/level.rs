//! Five levels as one table of parameters.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How eager hosts are parked, as users of VMware DPM know it: 1 only wakes, 5 saves most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerLevel {
    /// Wakes what the policy requires, parks nothing.
    WakeOnly,
    /// Parks what has long been needless.
    Careful,
    /// Parks where it clearly pays.
    Moderate,
    /// Parks where it pays.
    Thrifty,
    /// Parks whatever saves anything.
    Tight,
}

/// What a level means. Each field says which way is more careful.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// Whether hosts are parked, and woken for the sake of load.
    pub follows_load: bool,
    /// Part of a host's CPU that load and reserve together may fill; less is more careful.
    pub comfortable_cpu: f64,
    /// Part of a host's memory that guests may fill; less is more careful.
    pub comfortable_memory: f64,
    /// Reserve, in standard deviations of a host's load, below which a host is woken; more is
    /// more careful.
    pub wake_sigmas: f64,
    /// Reserve, in standard deviations, that must remain when a host is parked. The gap to
    /// `wake_sigmas` is the dead band; more is more careful.
    pub park_sigmas: f64,
    /// How long the load must have been too high before a host is woken; less is more careful.
    pub up_window: Duration,
    /// How long a host must have been needless before it is parked; more is more careful.
    pub down_window: Duration,
    /// What parking saves over the expected stay must be so many times its cost; more is more
    /// careful.
    pub pay_back: f64,
    /// Watts that each guest moved must save; more is more careful.
    pub watts_per_move: f64,
    /// Most hosts on their way to sleep at once, as a part of those awake, but one at least;
    /// less is more careful.
    pub parks_at_once: f64,
}

const MINUTE: u64 = 60;

impl PowerLevel {
    /// All, the most careful first.
    pub const ALL: [Self; 5] =
        [Self::WakeOnly, Self::Careful, Self::Moderate, Self::Thrifty, Self::Tight];

    /// The level of a number from 1 to 5.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// 1 to 5.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The table. The windows lie about DPM's 5 and 40 minutes (Broadcom KB 310527); the
    /// reserves of level 5 are about those of `consolidate`, and each level below keeps more.
    /// What they come to is in docs/benchmarks.md, Power levels.
    pub const fn parameters(self) -> Parameters {
        let row = Parameters {
            follows_load: true,
            comfortable_cpu: 1.0,
            comfortable_memory: 1.0,
            wake_sigmas: 0.0,
            park_sigmas: 0.0,
            up_window: Duration::from_secs(5 * MINUTE),
            down_window: Duration::from_secs(40 * MINUTE),
            pay_back: 1.0,
            watts_per_move: 1.25,
            parks_at_once: 0.2,
        };
        match self {
            Self::WakeOnly => Parameters { follows_load: false, ..row },
            Self::Careful => Parameters {
                comfortable_cpu: 0.65,
                comfortable_memory: 0.8,
                wake_sigmas: 2.0,
                park_sigmas: 3.0,
                up_window: Duration::from_secs(2 * MINUTE),
                down_window: Duration::from_secs(60 * MINUTE),
                pay_back: 4.0,
                watts_per_move: 4.0,
                parks_at_once: 0.05,
                ..row
            },
            Self::Moderate => Parameters {
                comfortable_cpu: 0.75,
                comfortable_memory: 0.85,
                wake_sigmas: 1.75,
                park_sigmas: 2.5,
                up_window: Duration::from_secs(3 * MINUTE),
                pay_back: 2.0,
                watts_per_move: 3.0,
                parks_at_once: 0.1,
                ..row
            },
            Self::Thrifty => Parameters {
                comfortable_cpu: 0.85,
                comfortable_memory: 0.9,
                wake_sigmas: 1.5,
                park_sigmas: 2.25,
                down_window: Duration::from_secs(30 * MINUTE),
                pay_back: 1.5,
                watts_per_move: 2.0,
                ..row
            },
            Self::Tight => Parameters {
                comfortable_cpu: 0.95,
                comfortable_memory: 0.95,
                wake_sigmas: 1.5,
                park_sigmas: 2.0,
                down_window: Duration::from_secs(20 * MINUTE),
                ..row
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_more_careful_than_the_next() {
        let of = |number| PowerLevel::of(number).unwrap().parameters();
        for (lower, upper) in (2..5).map(|number| (of(number), of(number + 1))) {
            assert!(lower.comfortable_cpu < upper.comfortable_cpu);
            assert!(lower.comfortable_memory < upper.comfortable_memory);
            assert!(lower.wake_sigmas >= upper.wake_sigmas);
            assert!(lower.park_sigmas > upper.park_sigmas);
            assert!(lower.up_window <= upper.up_window);
            assert!(lower.down_window > upper.down_window);
            assert!(lower.pay_back > upper.pay_back);
            assert!(lower.watts_per_move > upper.watts_per_move);
            assert!(lower.parks_at_once <= upper.parks_at_once);
        }
        assert!((2..=5).map(of).all(|row| row.park_sigmas > row.wake_sigmas));
        assert!((2..=5).map(of).all(|row| row.down_window > row.up_window));
    }

    #[test]
    fn numbers_name_levels() {
        for level in PowerLevel::ALL {
            assert_eq!(PowerLevel::of(level.number()), Some(level));
        }
        assert_eq!((PowerLevel::of(0), PowerLevel::of(6)), (None, None));
    }
}
