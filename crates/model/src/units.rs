//! Units are types, and their text forms are parsed in one place.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A size or amount in bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A memory size in MiB, libvirt's and QEMU's grain for guests.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Mib(pub u64);

/// A number of virtual CPUs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Vcpus(pub u32);

/// An amount of processor time per time: 1.0 is one core kept busy.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cores(pub f64);

/// Percent, 0 to 100 where it says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(pub f64);

impl Mib {
    /// The same size in bytes.
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0 << 20)
    }
}

impl Bytes {
    /// Whole MiB, rounded down.
    pub const fn mib(self) -> Mib {
        Mib(self.0 >> 20)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(u64, &str); 4] =
            [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        for (size, name) in STEPS {
            if self.0 >= size {
                #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
                return write!(f, "{:.2} {name}", self.0 as f64 / size as f64);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0)
    }
}

/// The text is not a number with a known unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUnitError {
    /// The part before the unit is not a plain, non-negative number.
    #[error("`{0}` does not start with a number")]
    NoNumber(String),
    /// The unit is not one of those named in the message.
    #[error("`{unit}` is not a known unit; use one of {known}")]
    UnknownUnit {
        /// What was written.
        unit: String,
        /// What may be written.
        known: &'static str,
    },
}

/// Reads `4GiB`, `4 GB`, `512MiB`, `1048576`: IEC units are powers of 1024, SI
/// units powers of 1000, no unit means bytes.
pub fn parse_bytes(text: &str) -> Result<Bytes, ParseUnitError> {
    let (number, unit) = split_unit(text)?;
    let factor: f64 = match unit {
        "" | "B" => 1.0,
        "KiB" | "Ki" | "K" => 1024.0,
        "MiB" | "Mi" | "M" => 1024.0 * 1024.0,
        "GiB" | "Gi" | "G" => 1024.0 * 1024.0 * 1024.0,
        "TiB" | "Ti" | "T" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        other => {
            return Err(ParseUnitError::UnknownUnit {
                unit: other.to_owned(),
                known: "B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
            });
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked non-negative; a float above u64::MAX saturates"
    )]
    Ok(Bytes((number * factor) as u64))
}

/// Reads `100MiB/s`, `1 GB/s`, `20MiB`, always per second: the sizes of [`parse_bytes`], but the
/// unit must be there.
pub fn parse_rate(text: &str) -> Result<Bytes, ParseUnitError> {
    let size = text.trim();
    let size = size.strip_suffix("/s").unwrap_or(size).trim_end();
    if size.ends_with(|last: char| last.is_ascii_digit() || last == '.') {
        return Err(ParseUnitError::UnknownUnit { unit: String::new(), known: "MiB/s, GiB/s" });
    }
    parse_bytes(size)
}

/// Reads `500ms`, `30s`, `2m`, `1h`, `7d` and sums such as `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    const KNOWN: &str = "ms, s, m, h, d";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(ParseUnitError::NoNumber(text.to_owned()));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, tail) = leading_number(rest)?;
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let seconds = match &tail[..end] {
            "ms" => 0.001,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            other => {
                return Err(ParseUnitError::UnknownUnit { unit: other.to_owned(), known: KNOWN });
            }
        };
        let part = Duration::try_from_secs_f64(number * seconds)
            .map_err(|_| ParseUnitError::NoNumber(text.to_owned()))?;
        total = total.saturating_add(part);
        rest = tail[end..].trim_start();
    }
    Ok(total)
}

/// A size exactly, in the largest unit that divides it: `4GiB`, `4506MiB`, `1000B`.
pub fn exact_bytes(size: Bytes) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let found =
        units.iter().find(|(factor, _)| size.0 >= *factor && size.0.is_multiple_of(*factor));
    let (factor, unit) = found.copied().unwrap_or((1, "B"));
    format!("{}{unit}", size.0 / factor)
}

/// A span exactly to the millisecond, as [`parse_duration`] reads it: `2m`, `1h30m`, `500ms`.
pub fn exact_duration(span: Duration) -> String {
    let mut rest = span.as_millis();
    let mut text = String::new();
    for (millis, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
        if rest >= millis {
            text.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if rest > 0 || text.is_empty() {
        text.push_str(&format!("{rest}ms"));
    }
    text
}

fn split_unit(text: &str) -> Result<(f64, &str), ParseUnitError> {
    let (number, tail) = leading_number(text.trim())?;
    Ok((number, tail.trim()))
}

fn leading_number(text: &str) -> Result<(f64, &str), ParseUnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().map_err(|_| ParseUnitError::NoNumber(text.to_owned()))?;
    Ok((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_iec_and_si_units() {
        for (text, bytes) in [
            ("4GiB", 4 << 30),
            ("4 GiB", 4 << 30),
            ("1.5GiB", 3 << 29),
            ("512MiB", 512 << 20),
            ("1GB", 1_000_000_000),
            ("1024", 1024),
        ] {
            assert_eq!(parse_bytes(text), Ok(Bytes(bytes)), "{text}");
        }
        assert!(matches!(parse_bytes("4 parsec"), Err(ParseUnitError::UnknownUnit { .. })));
        assert!(matches!(parse_bytes("-4GiB"), Err(ParseUnitError::NoNumber(_))));
    }

    #[test]
    fn rates_are_read_with_and_without_the_second_but_not_without_a_unit() {
        for (text, bytes) in
            [("100MiB/s", 100 << 20), ("20MiB", 20 << 20), (" 1 GB/s ", 1_000_000_000)]
        {
            assert_eq!(parse_rate(text), Ok(Bytes(bytes)), "{text}");
        }
        for wrong in ["100", "100/s", "1.", "fast", "", "100MiB/h"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_singly_and_as_sums() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h30m", 5_400_000), ("1.5s", 1500)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "5 fortnights", "m"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exact_texts_are_read_back_as_the_same() {
        for (millis, text) in [
            (0, "0ms"),
            (500, "500ms"),
            (90_000, "1m30s"),
            (120_000, "2m"),
            (5_400_000, "1h30m"),
            (86_400_001, "1d1ms"),
        ] {
            let span = Duration::from_millis(millis);
            assert_eq!(exact_duration(span), text);
            assert_eq!(parse_duration(text).unwrap(), span);
        }
        for (size, text) in [(0, "0B"), (1000, "1000B"), (4 << 30, "4GiB"), (4506 << 20, "4506MiB")]
        {
            assert_eq!(exact_bytes(Bytes(size)), text);
            assert_eq!(parse_bytes(text).unwrap(), Bytes(size));
        }
    }
}
