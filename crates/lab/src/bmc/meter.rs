//! What a host draws, as its BMC measures it.
//!
//! By the host's own energy counters where it has them: RAPL's packages, which see a part of
//! it. Where it has none: from its CPU use, [`IDLE_W`] when idle to [`BUSY_W`] with its whole
//! budget in use.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::lab::Lab;

/// A host without work, watts.
const IDLE_W: f64 = 90.0;
/// A host that uses its whole budget, watts.
const BUSY_W: f64 = 250.0;
/// A host that is off: its BMC and its network card.
const STANDBY_W: f64 = 7.0;
/// What the packages' counters see of a host's power; the rest is memory, disks, fans and the
/// power supply's loss. A host's counters are made with the same share.
const PACKAGES_SEE: f64 = 0.7;
/// /proc counts CPU time in these.
const TICKS_PER_S: f64 = 100.0;

/// What was read of the hosts last.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    hosts: BTreeMap<String, Reading>,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    energy_uj: Option<f64>,
    /// CPU time of each of its processes, ticks.
    ticks: BTreeMap<i32, f64>,
}

impl Meter {
    /// Watts of a host since the last call; none at the first one.
    pub(crate) fn watts(&mut self, lab: &Lab, host: &str) -> Option<f64> {
        let Some(init) = lab.init_pid(host) else {
            self.hosts.remove(host);
            return Some(STANDBY_W);
        };
        let now = Reading {
            at: Instant::now(),
            energy_uj: energy_uj(&lab.member_dir(host)),
            ticks: ticks_of(init),
        };
        let cores = lab.spec().host_cores;
        let before = self.hosts.get(host);
        let watts = before.and_then(|before| between(before, &now, cores));
        self.hosts.insert(host.to_owned(), now);
        watts
    }
}

fn between(before: &Reading, now: &Reading, cores: f64) -> Option<f64> {
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    if seconds <= 0.0 {
        return None;
    }
    if let (Some(from), Some(to)) = (before.energy_uj, now.energy_uj) {
        // A counter that fell has wrapped around or begun anew.
        return (to >= from).then(|| (to - from) / 1e6 / seconds / PACKAGES_SEE);
    }
    let used: f64 = now
        .ticks
        .iter()
        .map(|(pid, ticks)| (ticks - before.ticks.get(pid).unwrap_or(&0.0)).max(0.0))
        .sum();
    let share = (used / TICKS_PER_S / seconds / cores).clamp(0.0, 1.0);
    Some(IDLE_W + (BUSY_W - IDLE_W) * share)
}

/// All packages together.
fn energy_uj(dir: &Path) -> Option<f64> {
    let entries = std::fs::read_dir(dir.join("powercap")).ok()?;
    let packages = entries.flatten().filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.strip_prefix("intel-rapl:").is_some_and(|rest| !rest.contains(':'))
    });
    let counters: Vec<f64> = packages
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("energy_uj")).ok())
        .filter_map(|text| text.trim().parse().ok())
        .collect();
    (!counters.is_empty()).then(|| counters.iter().sum())
}

/// CPU time of every process in the PID namespace of this one.
fn ticks_of(init: i32) -> BTreeMap<i32, f64> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(init) else { return BTreeMap::new() };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| namespace(*pid).as_ref() == Some(&own))
        .filter_map(|pid| Some((pid, ticks(pid)?)))
        .collect()
}

fn ticks(pid: i32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number)?.parse::<f64>().ok();
    Some(field(11)? + field(12)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reading(at: Instant, energy_uj: Option<f64>, ticks: &[(i32, f64)]) -> Reading {
        Reading { at, energy_uj, ticks: ticks.iter().copied().collect() }
    }

    #[test]
    fn watts_follow_the_counters_or_the_cpu() {
        let begun = Instant::now();
        let later = begun + Duration::from_secs(2);
        let (from, to) = (reading(begun, Some(1e6), &[]), reading(later, Some(201e6), &[]));
        assert_eq!(between(&from, &to, 1.0), Some(100.0 / PACKAGES_SEE));
        assert_eq!(
            between(&to, &reading(later + Duration::from_secs(1), Some(5.0), &[]), 1.0),
            None
        );
        let (from, to) = (reading(begun, None, &[(5, 100.0)]), reading(later, None, &[(5, 200.0)]));
        assert_eq!(between(&from, &to, 1.0), Some(170.0));
        let idle = reading(later, None, &[(5, 100.0)]);
        assert_eq!(between(&from, &idle, 1.0), Some(IDLE_W));
        let busy = reading(later, None, &[(5, 100.0), (6, 900.0)]);
        assert_eq!(between(&from, &busy, 1.0), Some(BUSY_W));
    }
}
