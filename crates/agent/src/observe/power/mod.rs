//! What the host draws, as measured on the host itself.
//!
//! | source | read from | told as |
//! |---|---|---|
//! | ipmi | the host's own BMC, by the kernel's driver | watts at a moment, asked beside the samples |
//! | psys, rapl | `/sys/class/powercap` | energy counters: the mean over a sample is exact |
//! | hwmon | `/sys/class/hwmon` | watts at a moment, or the chip's own mean |
//! | battery | `/sys/class/power_supply` | watts at a moment |
//! | model | the CPU's use | an estimate by a curve |
//!
//! [`meter`] reads them and says which is used, [`fold`] makes watts of two readings, and
//! [`attribution`] shares them among guests; these two are pure. Over a network BMCs are asked by
//! the controller: there they answer also for a host that is off.

pub mod attribution;
mod battery;
pub mod fold;
mod hwmon;
pub mod meter;
pub mod own_bmc;
mod rapl;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use drover_model::{PowerCurve, PowerSource};

/// One counter of energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Microjoules since some beginning.
    pub energy_uj: u64,
    /// The largest value, after which it begins at 0 again; 0 where that is not told.
    pub range_uj: u64,
}

/// Counters of parts that no other one of them contains, by name.
pub type Counters = BTreeMap<String, Counter>;

/// What a source tells at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Draw {
    /// Energy since some beginning: two readings make a mean.
    Energy(Counters),
    /// Watts at this moment.
    Watts(f64),
    /// Nothing is measured: watts follow from how busy the host is.
    Curve(PowerCurve),
}

/// Readings of one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PowerSnapshot {
    /// When they were read, by the snapshot's steady clock.
    pub steady: Duration,
    /// The source in use, and what it tells.
    pub used: Option<(PowerSource, Draw)>,
    /// RAPL's packages, whatever source is in use.
    pub packages: Counters,
}

pub(super) fn text(path: &Path) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Names of what a directory holds, sorted; none where it cannot be read.
pub(super) fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// From micro-units, as the kernel's power files have them.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53: a kilowatt is 10^9 microwatts")]
fn from_micro(number: u64) -> f64 {
    number as f64 / 1e6
}

#[cfg(test)]
mod tree {
    //! Directory trees like the kernel's, for the tests of the sources.

    use std::path::Path;

    /// Writes files, by their path below `root`.
    pub(super) fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        }
    }
}
