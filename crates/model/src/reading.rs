//! A metric's value over a window, or why there is none.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Why a window has no value. A missing value never fires a rule and never
/// passes a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum MissingReason {
    /// No sample at all in the window.
    NoSamples,
    /// The newest sample is older than the limit.
    Stale {
        /// Age of the newest sample.
        age_ms: u64,
        /// Oldest age that still counts.
        limit_ms: u64,
    },
    /// The samples cover less of the window than a verdict needs.
    TooShort {
        /// Time from the first sample to now.
        covered_ms: u64,
        /// Time that must be covered.
        needed_ms: u64,
    },
    /// A gap between two samples is longer than the limit.
    Gap {
        /// The longest gap.
        gap_ms: u64,
        /// Longest gap that still counts.
        limit_ms: u64,
    },
}

impl fmt::Display for MissingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |ms: &u64| Duration::from_millis(*ms).as_secs_f64();
        match self {
            Self::NoSamples => write!(f, "no samples in the window"),
            Self::Stale { age_ms, limit_ms } => write!(
                f,
                "newest sample is {:.1} s old, more than {:.1} s",
                secs(age_ms),
                secs(limit_ms)
            ),
            Self::TooShort { covered_ms, needed_ms } => write!(
                f,
                "samples cover {:.1} s of the {:.1} s needed",
                secs(covered_ms),
                secs(needed_ms)
            ),
            Self::Gap { gap_ms, limit_ms } => write!(
                f,
                "a gap of {:.1} s between samples, more than {:.1} s",
                secs(gap_ms),
                secs(limit_ms)
            ),
        }
    }
}

/// A metric's value over a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reading {
    /// The aggregate over the window.
    Known {
        /// In the metric's unit.
        value: f64,
        /// How many samples went into it.
        samples: u32,
        /// When the newest of them was taken.
        newest: Timestamp,
    },
    /// There is no value to decide on.
    Missing(MissingReason),
}

impl Reading {
    /// The value, if there is one.
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Known { value, .. } => Some(*value),
            Self::Missing(_) => None,
        }
    }
}
