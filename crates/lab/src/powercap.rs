//! Energy counters of a lab host: a tree like that of RAPL, advanced by what the host really
//! computes.
//!
//! Hosts of a lab share one machine, and a virtual machine has no counters at all. So each
//! host has its own, in `hosts/<host>/powercap` of the lab and at `/sys/class/powercap` in the
//! host, where its agent reads them as it would on metal. PID 1 of the host advances them by
//! the CPU time of the host's processes against its budget:
//!
//! ```text
//! machine = 90 W + 160 W × share of the budget in use
//! package-0 = 70 % of it, core (a part of the package) 50 %, dram 10 %; the rest is not seen
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::lab::Lab;
use crate::tools::write;

/// What a host without work draws, watts.
pub const IDLE_WATTS: f64 = 90.0;
/// What a host draws that uses its whole budget, watts.
pub const BUSY_WATTS: f64 = 250.0;

/// Zone, name, and share of the machine's power.
const ZONES: [(&str, &str, f64); 3] = [
    ("intel-rapl:0", "package-0", 0.7),
    ("intel-rapl:0:0", "core", 0.5),
    ("intel-rapl:0:1", "dram", 0.1),
];

/// The share that packages and memory see: what RAPL says of the machine.
pub const SEEN_SHARE: f64 = 0.8;

/// Where the counters begin anew: what processors with units of 61 µJ have.
const RANGE_UJ: u64 = 262_143_328_850;
/// They begin so far below that: every lab sees them go around after a minute or two.
const FIRST_UJ: u64 = RANGE_UJ - 10_000_000_000;

/// How often they advance.
const INTERVAL: Duration = Duration::from_millis(500);

/// Where PID 1 writes them, inside the host.
pub(crate) const INSIDE: &str = "/run/powercap";
/// While this exists, the host has none, as without the kernel's module.
const HIDDEN: &str = "/run/lab/no-powercap";

/// Watts of a host that uses this share of its CPU budget.
pub fn machine_watts(share: f64) -> f64 {
    IDLE_WATTS + (BUSY_WATTS - IDLE_WATTS) * share.clamp(0.0, 1.0)
}

impl Lab {
    /// Takes a host's energy counters away, or gives it new ones, within a second.
    pub fn hide_powercap(&self, host: &str, hidden: bool) -> anyhow::Result<()> {
        self.address(host)?;
        let name = Path::new(HIDDEN).file_name().context("it has a name")?;
        let path = self.member_dir(host).join("run-lab").join(name);
        if hidden {
            write(&path, "")
        } else {
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
        }
    }
}

/// Advances the counters in a thread of its own for as long as the process lives.
pub(crate) fn feed(cores: f64) {
    std::thread::spawn(move || {
        let mut meter = Meter::new(cores);
        let mut counters: Option<Counters> = None;
        loop {
            let joules = meter.joules();
            if Path::new(HIDDEN).exists() {
                if counters.take().is_some() {
                    complain(remove());
                }
            } else if let Some(counters) = &mut counters {
                complain(counters.advance(joules));
            } else {
                match Counters::make(Path::new(INSIDE)) {
                    Ok(made) => counters = Some(made),
                    Err(error) => complain(Err(error)),
                }
            }
            std::thread::sleep(INTERVAL);
        }
    });
}

fn complain(result: anyhow::Result<()>) {
    if let Err(error) = result {
        eprintln!("powercap: {error:#}");
    }
}

fn remove() -> anyhow::Result<()> {
    for (zone, ..) in ZONES {
        let path = Path::new(INSIDE).join(zone);
        std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// The counters' files.
struct Counters(Vec<(File, f64, f64)>);

impl Counters {
    fn make(directory: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for (zone, name, share) in ZONES {
            let zone: PathBuf = directory.join(zone);
            write(&zone.join("name"), &format!("{name}\n"))?;
            write(&zone.join("max_energy_range_uj"), &format!("{RANGE_UJ}\n"))?;
            let path = zone.join("energy_uj");
            let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let first = FIRST_UJ as f64;
            files.push((file, share, first));
        }
        let mut counters = Self(files);
        counters.advance(0.0)?;
        Ok(counters)
    }

    /// One write of one length, so that nobody reads half a number.
    fn advance(&mut self, joules: f64) -> anyhow::Result<()> {
        for (file, share, energy) in &mut self.0 {
            *energy = after(*energy, joules * *share);
            file.write_all_at(format!("{energy:<12.0}\n").as_bytes(), 0)?;
        }
        Ok(())
    }
}

/// A counter, microjoules, after so many joules more.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn after(energy: f64, joules: f64) -> f64 {
    (energy + joules * 1e6) % RANGE_UJ as f64
}

/// CPU time of all processes of this PID namespace.
struct Meter {
    cores: f64,
    at: Instant,
    ticks: BTreeMap<(u32, u64), u64>,
}

impl Meter {
    fn new(cores: f64) -> Self {
        Self { cores, at: Instant::now(), ticks: ticks(Path::new("/proc")) }
    }

    /// What the host has used since the last call.
    #[expect(clippy::cast_precision_loss, reason = "ticks of half a second")]
    fn joules(&mut self) -> f64 {
        let (at, now) = (Instant::now(), ticks(Path::new("/proc")));
        let seconds = at.duration_since(self.at).as_secs_f64();
        // A process that is new was born here: all that it used, it used since.
        let used = |(key, ticks): (&(u32, u64), &u64)| {
            ticks.saturating_sub(self.ticks.get(key).copied().unwrap_or(0))
        };
        let used: u64 = now.iter().map(used).sum();
        let busy = used as f64 / rustix::param::clock_ticks_per_second() as f64;
        let share = if seconds > 0.0 { busy / seconds / self.cores } else { 0.0 };
        (self.at, self.ticks) = (at, now);
        machine_watts(share) * seconds
    }
}

/// CPU time by process id and start time, clock ticks.
fn ticks(proc: &Path) -> BTreeMap<(u32, u64), u64> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in brackets may hold anything.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let field = |number: usize| fields.get(number)?.parse::<u64>().ok();
            Some(((pid, field(19)?), field(11)? + field(12)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_as_stated() {
        assert_eq!((machine_watts(0.0), machine_watts(0.5)), (90.0, 170.0));
        assert_eq!((machine_watts(1.0), machine_watts(3.0)), (250.0, 250.0));
        let seen: f64 = ZONES.iter().filter(|zone| zone.1 != "core").map(|zone| zone.2).sum();
        assert!((seen - SEEN_SHARE).abs() < 1e-9);
    }

    #[test]
    fn counters_advance_and_go_around() {
        let directory = tempfile::tempdir().unwrap();
        let read = |zone: &str| -> u64 {
            let path = directory.path().join(zone).join("energy_uj");
            std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
        };
        let mut counters = Counters::make(directory.path()).unwrap();
        assert_eq!(read("intel-rapl:0"), FIRST_UJ);
        counters.advance(100.0).unwrap();
        assert_eq!(read("intel-rapl:0"), FIRST_UJ + 70_000_000);
        assert_eq!(read("intel-rapl:0:1"), FIRST_UJ + 10_000_000);
        counters.advance(15_000.0).unwrap();
        assert_eq!(read("intel-rapl:0"), 570_000_000);
    }

    #[test]
    fn what_this_process_computes_costs_energy() {
        let mut meter = Meter::new(1.0);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            std::hint::black_box(0);
        }
        // Far more than 90 W for the time.
        assert!(meter.joules() > 110.0 * 0.3);
    }
}
