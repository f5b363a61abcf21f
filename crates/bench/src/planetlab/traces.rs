//! CPU utilisation traces: one file per VM, one integer percentage per 300 s.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Seconds between samples and between scheduling steps.
pub(crate) const INTERVAL: f64 = 300.0;

/// Samples in a day; the last one is repeated to close the day.
pub(crate) const SAMPLES: usize = 288;

/// One VM's utilisation over a day, as fractions, `SAMPLES + 1` points.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trace(Vec<f64>);

impl Trace {
    /// Parses the text of a trace file (at least [`SAMPLES`] lines).
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut points = Vec::with_capacity(SAMPLES + 1);
        for (number, line) in (1..).zip(text.lines().take(SAMPLES)) {
            let percent: u32 =
                line.trim().parse().ok().filter(|percent| *percent <= 100).with_context(|| {
                    format!(
                        "line {number} is no whole percentage: `{}`",
                        line.chars().take(40).collect::<String>()
                    )
                })?;
            points.push(f64::from(percent) / 100.0);
        }
        ensure!(points.len() == SAMPLES, "{} lines; a day has {SAMPLES}", points.len());
        points.push(points[SAMPLES - 1]);
        Ok(Self(points))
    }

    /// Utilisation (fraction) at `time` seconds, linear between samples.
    ///
    /// Source: CloudSim 3.0.3 `UtilizationModelPlanetLabInMemory`.
    pub(crate) fn at(&self, time: f64) -> f64 {
        let position = time / INTERVAL;
        let before = (position.floor() as usize).min(SAMPLES);
        if time % INTERVAL == 0.0 {
            return self.0[before];
        }
        let after = (before + 1).min(SAMPLES);
        let slope = (self.0[after] - self.0[before]) / INTERVAL;
        self.0[before] + slope * (time - before as f64 * INTERVAL)
    }
}

/// Reads every file of a day's folder, in order of file name so that runs are reproducible.
pub(crate) fn read_day(folder: &Path) -> Result<Vec<Trace>> {
    let listing = || format!("list {}", folder.display());
    let mut files = std::fs::read_dir(folder)
        .with_context(listing)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()
        .with_context(listing)?;
    files.retain(|path| path.is_file());
    files.sort();
    ensure!(!files.is_empty(), "no trace in {}", folder.display());
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path)?;
            Trace::parse(&text)
        })
        .zip(&files)
        .map(|(trace, path)| trace.with_context(|| format!("in {}", path.display())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_and_repeats_the_last_sample() {
        let text: String = (0..SAMPLES).map(|i| format!("{}\n", i % 50)).collect();
        let trace = Trace::parse(&text).unwrap();
        assert_eq!(trace.at(300.0), 0.01);
        assert!((trace.at(450.0) - 0.015).abs() < 1e-12);
        assert_eq!(trace.at(86_400.0), trace.at(86_100.0));
    }

    #[test]
    fn refuses_short_and_wrong_files() {
        assert!(Trace::parse("1\n2\n").is_err());
        assert!(Trace::parse(&"101\n".repeat(SAMPLES)).is_err());
        assert!(Trace::parse(&"x\n".repeat(SAMPLES)).is_err());
    }
}
