//! Everything that is read at one moment: raw counters and levels.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{Bytes, Timestamp};
use drover_ports::GuestStats;

use super::parse::{CpuTicks, InOut};
use super::power::PowerSnapshot;

/// Raw readings of one moment. Two of them make a sample.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// By the host's clock.
    pub at: Timestamp,
    /// By a clock that never jumps; only differences mean anything.
    pub steady: Duration,
    /// Processor time used.
    pub cpu: Option<CpuUse>,
    /// Clock ticks in a second.
    pub ticks_per_second: u64,
    /// What the host draws.
    pub power: PowerSnapshot,
    /// Memory to be had.
    pub available: Option<Bytes>,
    /// Swap in use.
    pub swap_used: Option<Bytes>,
    /// Share of the last 10 s in which some task waited: for a CPU, for memory, for IO.
    pub pressure: Pressure,
    /// Counted interfaces.
    pub network: BTreeMap<String, InOut>,
    /// Counted disks.
    pub disks: BTreeMap<String, InOut>,
    /// Active guests.
    pub guests: Vec<GuestStats>,
    /// When the guests were read, by the same clock as `steady`: libvirt may take a while.
    pub guests_steady: Duration,
}

/// Processor time used, in the form the accounting mode has it.
#[derive(Debug, Clone, PartialEq)]
pub enum CpuUse {
    /// Of the whole machine.
    Machine(CpuTicks),
    /// Of each process, against a budget.
    Processes(ProcessTable),
    /// Of a control group against a budget: nanoseconds since it was made.
    Group {
        /// Used.
        used_ns: u64,
        /// What 100 % means.
        cores: f64,
    },
}

/// The processes of one PID namespace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProcessTable {
    /// By process id and start time: ids are used again.
    pub processes: BTreeMap<ProcessKey, ProcessUse>,
    /// Clock ticks since boot when they were read.
    pub read_at: u64,
    /// Clock ticks in a second.
    pub ticks_per_second: u64,
    /// What 100 % means.
    pub cores: f64,
}

/// One process for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process id.
    pub pid: u32,
    /// When it started, clock ticks since boot.
    pub started: u64,
}

/// What one process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessUse {
    /// Processor time, clock ticks.
    pub cpu_ticks: u64,
    /// Disk traffic, if the kernel tells it.
    pub io: Option<InOut>,
}

/// Pressure stall shares, percent; absent where the kernel has none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// Waiting for a CPU.
    pub cpu: Option<f64>,
    /// Waiting for memory.
    pub memory: Option<f64>,
    /// Waiting for IO.
    pub io: Option<f64>,
}
