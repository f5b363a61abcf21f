//! Reads the kernel's files for one snapshot, by accounting mode.
//!
//! | | host | processes | cgroup |
//! |---|---|---|---|
//! | CPU | /proc/stat | sum of `/proc/[pid]/stat` | cpu.stat, or cpuacct.usage (v1) |
//! | memory | MemAvailable | budget − anonymous and shared pages of all processes | budget − (memory.current − inactive files) |
//! | pressure | /proc/pressure | none: the kernel's is the whole machine's | *.pressure (v2) |
//! | disks | whole devices | sum of `/proc/[pid]/io` | whole devices |
//!
//! Power is the machine's in all modes, but for the model's, which follows the CPU above.
//! Network is the sum over the uplinks of the agent's network namespace in all modes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_model::Bytes;

use super::parse::{self, InOut};
use super::power::meter::PowerMeter;
use super::snapshot::{CpuUse, Pressure, ProcessKey, ProcessTable, ProcessUse, Snapshot};
use super::uplink::{InterfaceKind, is_counted_disk, uplinks};
use crate::clock;
use crate::config::{Accounting, Budget};

/// Reads the kernel's files.
#[derive(Debug, Clone)]
pub struct Reader {
    accounting: Accounting,
    power: Arc<PowerMeter>,
    proc: PathBuf,
    sys: PathBuf,
    ticks_per_second: u64,
    began: Instant,
}

impl Reader {
    /// A reader of this machine's /proc and /sys.
    pub fn new(accounting: Accounting, power: Arc<PowerMeter>) -> Self {
        Self {
            accounting,
            power,
            proc: "/proc".into(),
            sys: "/sys".into(),
            ticks_per_second: rustix::param::clock_ticks_per_second(),
            began: Instant::now(),
        }
    }

    /// The time by the snapshots' steady clock.
    pub fn steady(&self) -> Duration {
        self.began.elapsed()
    }

    /// Everything but the guests, now. What cannot be read is absent.
    pub fn read(&self) -> Snapshot {
        let power = self.power.read(|| self.steady());
        let mut snapshot = Snapshot {
            at: clock::now(),
            steady: self.steady(),
            ticks_per_second: self.ticks_per_second,
            power,
            network: self.network(),
            ..Snapshot::default()
        };
        match &self.accounting {
            Accounting::Host => self.read_machine(&mut snapshot),
            Accounting::Processes(budget) => self.read_processes(*budget, &mut snapshot),
            Accounting::Cgroup { path, budget } => self.read_group(path, *budget, &mut snapshot),
        }
        snapshot
    }

    fn read_machine(&self, snapshot: &mut Snapshot) {
        snapshot.cpu = self.file("stat").as_deref().and_then(parse::cpu_ticks).map(CpuUse::Machine);
        if let Some(memory) = self.file("meminfo").as_deref().and_then(parse::memory) {
            snapshot.available = Some(Bytes(memory.available));
            snapshot.swap_used = Some(Bytes(memory.swap_used));
        }
        let pressure = self.proc.join("pressure");
        snapshot.pressure = pressures(|name| pressure.join(name));
        snapshot.disks = self.disks();
    }

    fn read_processes(&self, budget: Budget, snapshot: &mut Snapshot) {
        // Before the list is read: what starts meanwhile is then new in the next table.
        let Some(read_at) =
            self.file("uptime").and_then(|text| parse::uptime_ticks(&text, self.ticks_per_second))
        else {
            return;
        };
        let (mut processes, mut memory, mut swap) = (BTreeMap::new(), 0, 0);
        for pid in process_ids(&self.proc) {
            let directory = self.proc.join(pid.to_string());
            // It may end between the list and the reads; then it is not there.
            let Some(stat) = text(&directory.join("stat")).and_then(|text| parse::process(&text))
            else {
                continue;
            };
            let io = text(&directory.join("io")).and_then(|text| parse::process_io(&text));
            if let Some(status) = text(&directory.join("status")) {
                memory += parse::process_memory(&status).unwrap_or(0);
                swap += parse::kibibytes(&status, "VmSwap").unwrap_or(0);
            }
            let key = ProcessKey { pid, started: stat.started };
            processes.insert(key, ProcessUse { cpu_ticks: stat.cpu_ticks, io });
        }
        snapshot.available = Some(Bytes(budget.memory.0.saturating_sub(memory)));
        snapshot.swap_used = Some(Bytes(swap));
        snapshot.cpu = Some(CpuUse::Processes(ProcessTable {
            processes,
            read_at,
            ticks_per_second: self.ticks_per_second,
            cores: budget.cores.0,
        }));
    }

    fn read_group(&self, group: &Path, budget: Budget, snapshot: &mut Snapshot) {
        let used_ns = text(&group.join("cpu.stat"))
            .and_then(|text| parse::keyed(&text, "usage_usec"))
            .map(|micros| micros.saturating_mul(1000))
            .or_else(|| number(&group.join("cpuacct.usage")));
        snapshot.cpu = used_ns.map(|used_ns| CpuUse::Group { used_ns, cores: budget.cores.0 });
        let (memory, swap) = group_memory(group);
        snapshot.available = memory.map(|used| Bytes(budget.memory.0.saturating_sub(used)));
        snapshot.swap_used = swap.map(Bytes);
        snapshot.pressure = pressures(|name| group.join(format!("{name}.pressure")));
        snapshot.disks = self.disks();
    }

    fn network(&self) -> BTreeMap<String, InOut> {
        let mut counted = BTreeMap::new();
        // Not /proc/net: that is the namespace of the thread group's leader.
        let Some(dev) = self.file("thread-self/net/dev").or_else(|| self.file("net/dev")) else {
            return counted;
        };
        let mut all = parse::network(&dev);
        let kinds: Vec<_> = all.keys().map(|name| (name.clone(), self.interface(name))).collect();
        let kinds: Vec<_> = kinds.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        for name in uplinks(&kinds) {
            if let Some((name, traffic)) = all.remove_entry(name) {
                counted.insert(name, traffic);
            }
        }
        counted
    }

    fn interface(&self, name: &str) -> InterfaceKind {
        let directory = self.sys.join("class/net").join(name);
        let stacked = std::fs::read_dir(&directory).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"lower_"))
            })
        });
        InterfaceKind {
            physical: directory.join("device").exists(),
            bridge: directory.join("bridge").exists(),
            tap: directory.join("tun_flags").exists(),
            stacked,
        }
    }

    fn disks(&self) -> BTreeMap<String, InOut> {
        let mut disks = self.file("diskstats").as_deref().map(parse::disks).unwrap_or_default();
        let whole = self.sys.join("block");
        disks.retain(|name, _| is_counted_disk(name, whole.join(name).exists()));
        disks
    }

    fn file(&self, name: &str) -> Option<String> {
        text(&self.proc.join(name))
    }
}

/// Memory that the group cannot give back easily, and its swap. In v1 the memory controller
/// is another hierarchy with the same path below it.
fn group_memory(group: &Path) -> (Option<u64>, Option<u64>) {
    let v1 = v1_memory_path(group);
    let inactive = |directory: &Path, key: &str| {
        text(&directory.join("memory.stat")).and_then(|text| parse::keyed(&text, key)).unwrap_or(0)
    };
    if let Some(current) = number(&group.join("memory.current")) {
        let memory = current.saturating_sub(inactive(group, "inactive_file"));
        return (Some(memory), number(&group.join("memory.swap.current")));
    }
    let memory = number(&v1.join("memory.usage_in_bytes"))
        .map(|used| used.saturating_sub(inactive(&v1, "total_inactive_file")));
    let swap = text(&v1.join("memory.stat")).and_then(|text| parse::keyed(&text, "total_swap"));
    (memory, swap)
}

/// `/sys/fs/cgroup/cpuacct/x` is `/sys/fs/cgroup/memory/x`.
fn v1_memory_path(group: &Path) -> PathBuf {
    group
        .components()
        .map(|part| match part.as_os_str().to_str() {
            Some("cpuacct" | "cpu,cpuacct" | "cpu") => "memory".as_ref(),
            _ => part.as_os_str(),
        })
        .collect()
}

fn pressures(path: impl Fn(&str) -> PathBuf) -> Pressure {
    let some = |name| text(&path(name)).and_then(|text| parse::pressure_some(&text));
    Pressure { cpu: some("cpu"), memory: some("memory"), io: some("io") }
}

fn process_ids(proc: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(proc) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fold;
    use drover_model::{Cores, Metric};

    fn reader(accounting: Accounting) -> Reader {
        let power = crate::config::Config::parse("").unwrap().power;
        Reader::new(accounting, Arc::new(PowerMeter::new(power)))
    }

    #[test]
    fn this_machine_can_be_read() {
        let snapshot = reader(Accounting::Host).read();
        assert!(matches!(snapshot.cpu, Some(CpuUse::Machine(_))));
        assert!(snapshot.available.unwrap().0 > 0);
    }

    #[test]
    fn the_work_of_this_very_process_is_seen_against_a_budget() {
        let budget = Budget { cores: Cores(0.01), memory: Bytes(1 << 50) };
        let reader = reader(Accounting::Processes(budget));
        let before = reader.read();
        let until = Instant::now() + Duration::from_millis(100);
        while Instant::now() < until {
            std::hint::black_box(0);
        }
        let values = fold::host(&before, &reader.read());
        let load = values.iter().find(|(metric, _)| *metric == Metric::CpuUsageActive);
        assert!(load.unwrap().1 > 0.0);
    }

    #[test]
    fn both_kinds_of_control_groups_are_read() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, contents: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, contents).unwrap();
        };
        write("v2/cpu.stat", "usage_usec 5\n");
        write("v2/memory.current", "1000\n");
        write("v2/memory.stat", "inactive_file 400\n");
        write("v2/cpu.pressure", "some avg10=2.50 avg60=0 avg300=0 total=0\n");
        write("cpuacct/a/cpuacct.usage", "5000\n");
        write("memory/a/memory.usage_in_bytes", "1000\n");
        write("memory/a/memory.stat", "total_inactive_file 400\ntotal_swap 1\n");
        for (group, pressure) in [("v2", Some(2.5)), ("cpuacct/a", None)] {
            let budget = Budget { cores: Cores(1.0), memory: Bytes(10_000) };
            let path = root.path().join(group);
            let snapshot = reader(Accounting::Cgroup { path, budget }).read();
            assert_eq!(snapshot.cpu, Some(CpuUse::Group { used_ns: 5000, cores: 1.0 }), "{group}");
            assert_eq!(snapshot.available, Some(Bytes(9400)), "{group}");
            assert_eq!(snapshot.pressure.cpu, pressure, "{group}");
        }
    }
}
