//! What one host draws, as a straight line over its CPU use.

use serde::{Deserialize, Serialize};

use crate::PowerCurve;

/// What a line rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum LineBasis {
    /// Fitted to what was measured of this host.
    Learned {
        /// Moments with both CPU use and watts.
        points: u32,
        /// Lowest CPU use among them, a fraction.
        least_use: f64,
        /// Highest CPU use among them, a fraction.
        most_use: f64,
        /// Half of them are at most so many watts off the line.
        error: f64,
    },
    /// Of the shape that many servers have, through what was measured of this host.
    Scaled,
    /// Nothing was measured: by its number of cores alone.
    Default,
}

impl LineBasis {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Learned { .. } => "learned",
            Self::Scaled => "scaled",
            Self::Default => "default",
        }
    }
}

/// Watts at rest and under full load, linear in between.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerLine {
    /// Watts at rest.
    pub idle: f64,
    /// Watts with every core busy; not less than at rest.
    pub full: f64,
    /// What it rests on.
    pub basis: LineBasis,
}

impl PowerLine {
    /// Watts at a utilisation, a fraction; beyond 0 and 1 it counts as these.
    pub fn watts(&self, utilisation: f64) -> f64 {
        self.idle + (self.full - self.idle) * utilisation.clamp(0.0, 1.0)
    }

    /// Watts that one more busy core adds on a host with so many.
    pub fn per_core(&self, cores: f64) -> f64 {
        if cores > 0.0 { (self.full - self.idle) / cores } else { 0.0 }
    }

    /// The same as a curve of eleven points.
    pub fn curve(&self) -> PowerCurve {
        PowerCurve([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0].map(|u| self.watts(u)))
    }

    /// Whether it was fitted to this host's own measurements.
    pub const fn is_learned(&self) -> bool {
        matches!(self.basis, LineBasis::Learned { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_watts_at_any_use_and_of_any_core() {
        let line = PowerLine { idle: 100.0, full: 260.0, basis: LineBasis::Scaled };
        assert_eq!((line.watts(0.0), line.watts(0.5), line.watts(2.0)), (100.0, 180.0, 260.0));
        assert_eq!((line.per_core(16.0), line.per_core(0.0)), (10.0, 0.0));
        assert!((line.curve().watts(0.37) - line.watts(0.37)).abs() < 1e-9);
    }
}
