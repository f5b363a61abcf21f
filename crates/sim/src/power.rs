//! What a host draws at a given load.
//!
//! Not known here: sleep states, fans, the wall plug's losses. A host that is down draws
//! nothing.

use std::str::FromStr;

use drover_model::PowerCurve as Measured;

/// The planner's curve, with names and texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerCurve(Measured);

/// No host draws more: a rack's feed.
const MAX_WATTS: f64 = 20_000.0;

/// Curves by name, as measured with SPECpower_ssj2008 (spec.org/power_ssj2008) and used in
/// the literature on consolidation.
pub const NAMED: &[(&str, PowerCurve)] = &[
    (
        "hp-ml110-g4",
        PowerCurve(Measured([
            86.0, 89.4, 92.6, 96.0, 99.5, 102.0, 106.0, 108.0, 112.0, 114.0, 117.0,
        ])),
    ),
    (
        "hp-ml110-g5",
        PowerCurve(Measured([
            93.7, 97.0, 101.0, 105.0, 110.0, 116.0, 121.0, 125.0, 129.0, 133.0, 135.0,
        ])),
    ),
    (
        "ibm-x3550-m3",
        PowerCurve(Measured([
            58.4, 98.0, 109.0, 118.0, 128.0, 140.0, 153.0, 170.0, 189.0, 205.0, 222.0,
        ])),
    ),
];

/// Not a curve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no power curve: write idle and peak watts as `90..250`, or one of hp-ml110-g4, \
     hp-ml110-g5, ibm-x3550-m3"
)]
pub struct NoCurve(pub String);

impl PowerCurve {
    /// A straight line from idle to peak watts; none unless 0 ≤ idle ≤ peak ≤ 20,000.
    pub fn linear(idle: f64, peak: f64) -> Option<Self> {
        let fits = idle >= 0.0 && peak >= idle && peak <= MAX_WATTS;
        fits.then(|| {
            Self(Measured(std::array::from_fn(|i| idle + (peak - idle) * i as f64 / 10.0)))
        })
    }

    /// Watts at so many percent of the cores; what lies outside 0 to 100 counts as the end.
    pub fn watts(&self, percent: f64) -> f64 {
        self.0.watts(percent / 100.0)
    }
}

impl Default for PowerCurve {
    /// 100 W to 250 W: a server with one socket.
    fn default() -> Self {
        Self(Measured(std::array::from_fn(|i| 15.0f64.mul_add(i as f64, 100.0))))
    }
}

impl FromStr for PowerCurve {
    type Err = NoCurve;

    fn from_str(text: &str) -> Result<Self, NoCurve> {
        let wrong = || NoCurve(text.to_owned());
        if let Some((_, curve)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*curve);
        }
        let (idle, peak) = text.split_once("..").ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
        Self::linear(number(idle)?, number(peak)?).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_read_by_name_or_by_its_ends() {
        let g5: PowerCurve = "hp-ml110-g5".parse().unwrap();
        assert_eq!((g5.watts(0.0), g5.watts(100.0)), (93.7, 135.0));
        assert!((g5.watts(55.0) - 118.5).abs() < 1e-9, "half way between 116 and 121");
        let line: PowerCurve = "90..250".parse().unwrap();
        assert_eq!((line.watts(-5.0), line.watts(50.0), line.watts(140.0)), (90.0, 170.0, 250.0));
        for bad in ["", "90", "250..90", "-1..5", "a..b", "0..1e9", "NaN..1"] {
            assert!(bad.parse::<PowerCurve>().is_err(), "{bad}");
        }
        assert_eq!(PowerCurve::default().watts(100.0), 250.0);
    }
}
