//! `cpu.usage_active > 60`, `cpu.usage_active.gt 60`, `mem.available < 4GiB`, `power.watts > 250`.

use std::fmt;
use std::str::FromStr;

use drover_model::{Bytes, Metric, MetricUnit, ParseUnitError, exact_bytes, parse_bytes};
use serde::{Deserialize, Serialize};

use crate::power_line::MOST_WATTS;

/// Metrics that moving a guest away can relieve, because each guest's share is measured or,
/// for watts, follows from its CPU.
pub const RELIEVABLE: &[Metric] =
    &[Metric::CpuUsageActive, Metric::MemAvailable, Metric::PowerWatts, Metric::PowerPackageWatts];

const MIB: f64 = 1_048_576.0;
/// From here on the default clear value is a whole number of MiB: further from the
/// threshold than rounding can move it.
const ROUND_FROM: f64 = 64.0 * MIB;

/// On which side of the threshold the condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// The value is greater.
    Above,
    /// The value is smaller.
    Below,
}

/// A metric compared with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// What is measured.
    pub metric: Metric,
    /// On which side it holds.
    pub comparison: Comparison,
    /// In the metric's unit.
    pub threshold: f64,
}

/// Why a condition cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConditionError {
    /// There is no comparison in it.
    #[error("`{0}` has no comparison; write for example `cpu.usage_active > 60`")]
    NoComparison(String),
    /// It says more than one comparison.
    #[error("`{0}` is not known here: a condition is one metric, `>` or `<`, and a value")]
    NotSupported(String),
    /// The metric is unknown or cannot be relieved by moving guests.
    #[error(
        "`{0}` cannot be used in a rule; use cpu.usage_active, mem.available, power.watts or \
         power.package_watts"
    )]
    NotRelievable(String),
    /// The comparison points away from trouble.
    #[error("a rule on {metric} needs `{needed}`: moving guests away cannot help otherwise")]
    WrongDirection {
        /// The metric.
        metric: Metric,
        /// The comparison that makes sense.
        needed: &'static str,
    },
    /// The threshold is not a number of the metric's unit.
    #[error("the threshold `{0}` is not a number")]
    BadThreshold(String),
    /// The threshold's unit is unknown.
    #[error("the threshold is unreadable")]
    BadUnit(#[from] ParseUnitError),
    /// The threshold can never or will always hold.
    #[error("the threshold {0} is out of range: {1}")]
    OutOfRange(f64, &'static str),
}

impl Condition {
    /// Whether `value` is on the bad side.
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Above => value > self.threshold,
            Comparison::Below => value < self.threshold,
        }
    }

    /// Whether `value` is on the good side of the threshold by at least `margin`.
    pub fn kept_with_margin(&self, value: f64, margin: f64) -> bool {
        match self.comparison {
            Comparison::Above => value < self.threshold - margin,
            Comparison::Below => value > self.threshold + margin,
        }
    }

    /// How far `value` is on the bad side; negative on the good side.
    pub fn excess(&self, value: f64) -> f64 {
        match self.comparison {
            Comparison::Above => value - self.threshold,
            Comparison::Below => self.threshold - value,
        }
    }

    /// The same condition at another threshold.
    #[must_use]
    pub const fn at(self, threshold: f64) -> Self {
        Self { threshold, ..self }
    }

    /// Reads a threshold in this condition's unit, as `--clear` takes it.
    pub fn parse_value(&self, text: &str) -> Result<f64, ConditionError> {
        parse_threshold(self.metric, text)
    }

    /// A value in this condition's unit, exact, as [`Self::parse_value`] reads it.
    pub fn value_text(&self, value: f64) -> String {
        match self.metric.unit() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "memory sizes are whole and not negative"
            )]
            MetricUnit::Bytes => exact_bytes(Bytes(value as u64)),
            _ => value.to_string(),
        }
    }

    /// Default clear value: a tenth of the threshold back on the good side, rounded to a
    /// hundredth of a percent or a MiB.
    pub fn default_clear(&self) -> f64 {
        let clear = match self.comparison {
            Comparison::Above => self.threshold * 0.9,
            Comparison::Below => self.threshold * 1.1,
        };
        let step = match self.metric.unit() {
            MetricUnit::Bytes if clear >= ROUND_FROM => MIB,
            MetricUnit::Bytes => 1.0,
            _ => return (clear * 100.0).round() / 100.0,
        };
        (clear / step).round() * step
    }

    /// Whether `clear` lies on the good side of the threshold or on it.
    pub fn accepts_clear(&self, clear: f64) -> bool {
        clear.is_finite() && !self.holds(clear)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::Above => '>',
            Comparison::Below => '<',
        };
        write!(f, "{} {sign} {}", self.metric, self.metric.show(self.threshold))
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_form(text)?;
        let (metric, comparison, threshold) = split(text)?;
        let metric: Metric = metric
            .parse()
            .ok()
            .filter(|metric| RELIEVABLE.contains(metric))
            .ok_or_else(|| ConditionError::NotRelievable(metric.to_owned()))?;
        let threshold = parse_threshold(metric, threshold)?;
        check_direction(metric, comparison)?;
        check_range(metric, threshold)?;
        Ok(Self { metric, comparison, threshold })
    }
}

/// One comparison of one metric is all there is.
fn check_form(text: &str) -> Result<(), ConditionError> {
    let beyond = [">=", "<=", "==", "!=", "&&", "||", " and ", " or "];
    match beyond.iter().find(|part| text.contains(**part)) {
        Some(part) => Err(ConditionError::NotSupported(part.trim().to_owned())),
        None => Ok(()),
    }
}

fn split(text: &str) -> Result<(&str, Comparison, &str), ConditionError> {
    const SIGNS: [(&str, Comparison); 4] = [
        (">", Comparison::Above),
        ("<", Comparison::Below),
        (".gt ", Comparison::Above),
        (".lt ", Comparison::Below),
    ];
    SIGNS
        .iter()
        .find_map(|(sign, comparison)| {
            let (metric, threshold) = text.split_once(sign)?;
            Some((metric.trim(), *comparison, threshold.trim()))
        })
        .ok_or_else(|| ConditionError::NoComparison(text.to_owned()))
}

fn parse_threshold(metric: Metric, text: &str) -> Result<f64, ConditionError> {
    match metric.unit() {
        #[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
        MetricUnit::Bytes | MetricUnit::BytesPerSecond => {
            Ok(parse_bytes(text.trim_end_matches("/s"))?.0 as f64)
        }
        unit => text
            .trim_end_matches(if unit == MetricUnit::Watts { 'W' } else { '%' })
            .trim()
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| ConditionError::BadThreshold(text.to_owned())),
    }
}

fn check_direction(metric: Metric, comparison: Comparison) -> Result<(), ConditionError> {
    let (right, needed) = match metric {
        Metric::MemAvailable => (Comparison::Below, "<"),
        _ => (Comparison::Above, ">"),
    };
    if comparison == right {
        Ok(())
    } else {
        Err(ConditionError::WrongDirection { metric, needed })
    }
}

fn check_range(metric: Metric, threshold: f64) -> Result<(), ConditionError> {
    match metric.unit() {
        MetricUnit::Percent if !(1.0..100.0).contains(&threshold) => {
            Err(ConditionError::OutOfRange(threshold, "percent thresholds go from 1 to below 100"))
        }
        MetricUnit::Watts if threshold > MOST_WATTS => {
            Err(ConditionError::OutOfRange(threshold, "one host draws at most 20,000 W"))
        }
        _ if threshold <= 0.0 => {
            Err(ConditionError::OutOfRange(threshold, "it must be greater than zero"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_in_both_forms() {
        for (text, shown) in [
            ("cpu.usage_active > 60", "cpu.usage_active > 60.0 %"),
            ("cpu.usage_active>60%", "cpu.usage_active > 60.0 %"),
            ("cpu.usage_active.gt 60", "cpu.usage_active > 60.0 %"),
            ("mem.available < 4GiB", "mem.available < 4.00 GiB"),
            ("mem.available.lt 4294967296", "mem.available < 4.00 GiB"),
            ("power.watts > 250", "power.watts > 250.0 W"),
            ("power.watts > 250W", "power.watts > 250.0 W"),
            ("power.package_watts.gt 95.5 W", "power.package_watts > 95.5 W"),
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn bad_conditions_say_what_is_wrong() {
        for (text, part) in [
            ("cpu.usage_active", "no comparison"),
            ("cpu.usage > 60", "cannot be used"),
            ("psi.cpu.some > 60", "cannot be used"),
            ("cpu.usage_active < 10", "needs `>`"),
            ("mem.available > 1GiB", "needs `<`"),
            ("cpu.usage_active > hot", "not a number"),
            ("cpu.usage_active > NaN", "not a number"),
            ("cpu.usage_active > 100", "out of range"),
            ("mem.available < 0", "greater than zero"),
            ("power.watts > 0", "greater than zero"),
            ("power.watts > 25000", "at most 20,000 W"),
            ("power.watts < 100", "needs `>`"),
            ("power.watts > 4GiB", "not a number"),
            ("guest.power_watts > 10", "cannot be used"),
            ("mem.available < 4 parsec", "unreadable"),
        ] {
            let error = text.parse::<Condition>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
