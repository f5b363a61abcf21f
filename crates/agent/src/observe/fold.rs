//! From two snapshots to one sample. Pure.
//!
//! A counter that went backwards belongs to something that began anew: the interval has no
//! value for it. A missing value is better than an invented one, since it fires no rule.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{GuestId, Metric};
use drover_ports::GuestStats;

use super::parse::{CpuTicks, InOut};
use super::power::{attribution, fold as power};
use super::snapshot::{CpuUse, ProcessKey, ProcessTable, ProcessUse, Snapshot};

/// Values of one moment; rates are means since the snapshot before.
pub type Values = Vec<(Metric, f64)>;

/// The host's values.
pub fn host(previous: &Snapshot, current: &Snapshot) -> Values {
    let elapsed = current.steady.saturating_sub(previous.steady);
    let mut values = Values::new();
    let mut put = |metric: Metric, value: Option<f64>| {
        values.extend(value.filter(|value| value.is_finite()).map(|value| (metric, value)));
    };
    let load = load(previous, current, elapsed);
    put(Metric::CpuUsageActive, load.map(|load| load.percent));
    put(Metric::PowerWatts, watts(previous, current, load));
    put(Metric::PowerPackageWatts, power::package_watts(&previous.power, &current.power));
    put(Metric::MemAvailable, current.available.map(|bytes| float(bytes.0)));
    put(Metric::SwapUsed, current.swap_used.map(|bytes| float(bytes.0)));
    put(Metric::PsiCpuSome, current.pressure.cpu);
    put(Metric::PsiMemorySome, current.pressure.memory);
    put(Metric::PsiIoSome, current.pressure.io);
    let network = traffic(&previous.network, &current.network);
    put(Metric::NetRxRate, network.and_then(|sum| rate(sum.input, elapsed)));
    put(Metric::NetTxRate, network.and_then(|sum| rate(sum.output, elapsed)));
    let disks = disk_traffic(previous, current);
    put(Metric::DiskReadRate, disks.and_then(|sum| rate(sum.input, elapsed)));
    put(Metric::DiskWriteRate, disks.and_then(|sum| rate(sum.output, elapsed)));
    values
}

/// Every active guest's values.
pub fn guests(previous: &Snapshot, current: &Snapshot) -> Vec<(GuestId, Values)> {
    let elapsed = current.guests_steady.saturating_sub(previous.guests_steady);
    let before: BTreeMap<GuestId, &GuestStats> =
        previous.guests.iter().filter_map(|stats| Some((stats.guest?, stats))).collect();
    let mut all: Vec<(GuestId, Values)> = current
        .guests
        .iter()
        .filter_map(|now| Some((now.guest?, now)))
        .map(|(id, now)| (id, guest(before.get(&id).copied(), now, elapsed)))
        .collect();
    if let Some(active) = active(previous, current) {
        attribution::share(active, &mut all);
    }
    all
}

fn guest(before: Option<&GuestStats>, now: &GuestStats, elapsed: Duration) -> Values {
    let level = |metric, value: Option<u64>| Some((metric, float(value?)));
    let levels =
        [level(Metric::GuestResident, now.resident), level(Metric::GuestBalloon, now.balloon)];
    let mut values: Values = levels.into_iter().flatten().collect();
    values.extend(before.map(|before| guest_rates(before, now, elapsed)).unwrap_or_default());
    values
}

/// None of them when a counter went backwards: then the guest's process is another one.
fn guest_rates(before: &GuestStats, now: &GuestStats, elapsed: Duration) -> Values {
    let Some(seconds) = seconds(elapsed) else { return Values::new() };
    let counters = |stats: &GuestStats| {
        [
            stats.cpu_time_ns,
            stats.vcpu_time_ns,
            stats.disk_read,
            stats.disk_written,
            stats.net_rx,
            stats.net_tx,
        ]
    };
    let both = counters(before).into_iter().zip(counters(now));
    if both.into_iter().any(|(old, new)| new.is_some() && old.is_some() && new < old) {
        return Values::new();
    }
    let rate = |metric, old: Option<u64>, new: Option<u64>, unit: f64| {
        Some((metric, float(new?.checked_sub(old?)?) / seconds / unit))
    };
    let vcpus = f64::from(now.vcpus.unwrap_or(1).max(1));
    let rates = [
        rate(Metric::GuestCpuCores, before.cpu_time_ns, now.cpu_time_ns, 1e9),
        now.vcpus.and_then(|_| {
            let percent_ns = 1e9 * vcpus / 100.0;
            rate(Metric::GuestVcpuPercent, before.vcpu_time_ns, now.vcpu_time_ns, percent_ns)
        }),
        rate(Metric::DiskReadRate, before.disk_read, now.disk_read, 1.0),
        rate(Metric::DiskWriteRate, before.disk_written, now.disk_written, 1.0),
        rate(Metric::NetRxRate, before.net_rx, now.net_rx, 1.0),
        rate(Metric::NetTxRate, before.net_tx, now.net_tx, 1.0),
    ];
    rates.into_iter().flatten().collect()
}

/// How busy the host's processors were.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Of all that the host has.
    percent: f64,
    /// Seconds of CPU time that were used.
    seconds: f64,
}

fn load(previous: &Snapshot, current: &Snapshot, elapsed: Duration) -> Option<Load> {
    let of_budget =
        |seconds, cores| Some(Load { percent: share(seconds, elapsed, cores)?, seconds });
    match (previous.cpu.as_ref()?, current.cpu.as_ref()?) {
        (CpuUse::Machine(before), CpuUse::Machine(now)) => {
            let used = float(now.active.checked_sub(before.active)?);
            let seconds = used / float(current.ticks_per_second.max(1));
            Some(Load { percent: machine_percent(*before, *now)?, seconds })
        }
        (CpuUse::Processes(before), CpuUse::Processes(now)) => {
            let ticks = process_deltas(before, now).map(|used| used.cpu_ticks).sum::<u64>();
            of_budget(float(ticks) / float(now.ticks_per_second.max(1)), now.cores)
        }
        (CpuUse::Group { used_ns: before, .. }, CpuUse::Group { used_ns: now, cores }) => {
            of_budget(float(now.checked_sub(*before)?) / 1e9, *cores)
        }
        _ => None,
    }
}

fn watts(previous: &Snapshot, current: &Snapshot, load: Option<Load>) -> Option<f64> {
    power::watts(&previous.power, &current.power, load.map(|load| load.percent / 100.0))
}

/// What the guests may share of the host's power.
fn active(previous: &Snapshot, current: &Snapshot) -> Option<attribution::Active> {
    let elapsed = current.steady.saturating_sub(previous.steady);
    let load = load(previous, current, elapsed)?;
    let watts = watts(previous, current, Some(load))? * load.percent / 100.0;
    Some(attribution::Active { watts, cores: load.seconds / seconds(elapsed)? })
}

fn machine_percent(before: CpuTicks, now: CpuTicks) -> Option<f64> {
    let active = now.active.checked_sub(before.active)?;
    // iowait may go backwards by a tick (proc(5)).
    let inactive = now.inactive.saturating_sub(before.inactive);
    let whole = active + inactive;
    (whole > 0).then(|| float(active) * 100.0 / float(whole))
}

/// Percent of a budget of `cores`. Ticks are coarse and a budget may be burst over; what is
/// reported ends at 100.
fn share(busy_seconds: f64, elapsed: Duration, cores: f64) -> Option<f64> {
    Some((busy_seconds * 100.0 / (seconds(elapsed)? * cores)).min(100.0))
}

/// What each process used between the two tables. One that is seen for the first time counts
/// whole if it started after the first table was read, and not at all otherwise: it came from
/// elsewhere with its past. One that ended takes its last interval with it.
fn process_deltas(before: &ProcessTable, now: &ProcessTable) -> impl Iterator<Item = ProcessUse> {
    now.processes.iter().filter_map(|(key, used)| match before.processes.get(key) {
        Some(old) => Some(ProcessUse {
            cpu_ticks: used.cpu_ticks.saturating_sub(old.cpu_ticks),
            io: difference(old.io, used.io),
        }),
        None => is_new(*key, before).then_some(*used),
    })
}

fn is_new(key: ProcessKey, before: &ProcessTable) -> bool {
    key.started >= before.read_at
}

fn difference(old: Option<InOut>, new: Option<InOut>) -> Option<InOut> {
    let (old, new) = (old?, new?);
    Some(InOut {
        input: new.input.saturating_sub(old.input),
        output: new.output.saturating_sub(old.output),
    })
}

/// Bytes of all devices that were there before too and did not begin anew; none when there
/// is none such.
fn traffic(before: &BTreeMap<String, InOut>, now: &BTreeMap<String, InOut>) -> Option<InOut> {
    now.iter()
        .filter_map(|(name, new)| {
            let old = before.get(name)?;
            Some(InOut {
                input: new.input.checked_sub(old.input)?,
                output: new.output.checked_sub(old.output)?,
            })
        })
        .reduce(add)
}

fn disk_traffic(previous: &Snapshot, current: &Snapshot) -> Option<InOut> {
    match (&previous.cpu, &current.cpu) {
        (Some(CpuUse::Processes(before)), Some(CpuUse::Processes(now))) => {
            process_deltas(before, now).filter_map(|used| used.io).reduce(add)
        }
        _ => traffic(&previous.disks, &current.disks),
    }
}

fn add(one: InOut, other: InOut) -> InOut {
    InOut { input: one.input + other.input, output: one.output + other.output }
}

fn rate(bytes: u64, elapsed: Duration) -> Option<f64> {
    Some(float(bytes) / seconds(elapsed)?)
}

fn seconds(elapsed: Duration) -> Option<f64> {
    (!elapsed.is_zero()).then_some(elapsed.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counters far below 2^53 for years")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
