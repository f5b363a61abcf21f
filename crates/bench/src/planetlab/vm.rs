//! A VM: its demand, its history and its place.

use std::collections::VecDeque;

use crate::planetlab::catalog;
use crate::planetlab::metrics::VmLedger;
use crate::planetlab::traces::{INTERVAL, Trace};

/// Samples of history kept, newest first. Source: CloudSim 3.0.3 `PowerVm`.
pub(crate) const HISTORY: usize = 30;

/// Seconds by which the workload starts after the VMs. Source: CloudSim 3.0.3, where the
/// acknowledgement of VM creation takes the minimum time between events.
pub(crate) const START: f64 = 0.1;

/// A VM of the experiment.
#[derive(Debug, Clone)]
pub(crate) struct Vm {
    /// Speed of its core, MIPS.
    pub(crate) mips: f64,
    /// Memory, MB; sets the time a migration takes.
    pub(crate) ram_mb: f64,
    /// Demand now, MIPS.
    pub(crate) request: f64,
    /// Utilisation (fraction of `mips`) at past steps, newest first, at most [`HISTORY`] long.
    pub(crate) history: VecDeque<f64>,
    /// Host it runs on.
    pub(crate) host: Option<usize>,
    /// Whether a migration is under way.
    pub(crate) migrating: bool,
    /// Service-level totals.
    pub(crate) ledger: VmLedger,
    trace: Trace,
    history_time: f64,
}

impl Vm {
    /// VM `index` of `count`, driven by `trace`.
    pub(crate) fn new(index: usize, count: usize, trace: Trace) -> Self {
        let (mips, ram_mb) = catalog::vm_size(index, count);
        Self {
            mips,
            ram_mb,
            request: 0.0,
            history: VecDeque::with_capacity(HISTORY + 1),
            host: None,
            migrating: false,
            ledger: VmLedger::default(),
            trace,
            history_time: 0.0,
        }
    }

    /// Reads the demand of `now`; on a scheduling step also remembers it.
    ///
    /// Source: CloudSim 3.0.3 `PowerVm`. The test for a scheduling step is exact floating-point
    /// equality there, and the clock accumulates rounding, so it is the same expression here.
    pub(crate) fn refresh(&mut self, now: f64) {
        let utilisation = self.trace.at(now);
        self.request = utilisation * self.mips;
        if now > self.history_time && (now - START) % INTERVAL == 0.0 {
            self.history.push_front(utilisation);
            self.history.truncate(HISTORY);
            self.history_time = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_newest_first_and_once_per_step() {
        let text: String = (0..288).map(|i| format!("{}\n", i % 100)).collect();
        let mut vm = Vm::new(0, 1, Trace::parse(&text).unwrap());
        for now in [300.1, 314.0, 600.1, 600.1] {
            vm.refresh(now);
        }
        assert_eq!(vm.history.len(), 2);
        assert!(vm.history[0] > vm.history[1]);
        assert!((vm.request - 2500.0 * 0.02).abs() < 0.1);
    }
}
