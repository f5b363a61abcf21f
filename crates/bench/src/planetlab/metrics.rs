//! Service-level and energy figures. Source: CloudSim 3.0.3 `examples.power.Helper`.
//!
//! Every update of the simulation leaves a mark; a mark holds until the next one. Two marks at the
//! same instant: the later replaces the earlier.

use serde::Serialize;

/// State of a host from `time` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostMark {
    /// Seconds since the start.
    pub(crate) time: f64,
    /// MIPS allocated.
    pub(crate) allocated: f64,
    /// MIPS requested.
    pub(crate) requested: f64,
}

/// Running totals of one host.
#[derive(Debug, Clone)]
pub(crate) struct HostLedger {
    last: Option<HostMark>,
    was_active: bool,
    active_s: f64,
    short_s: f64,
    shutdowns: usize,
}

impl Default for HostLedger {
    /// A host counts as active before its first mark, so one that is never used is shut down once.
    fn default() -> Self {
        Self { last: None, was_active: true, active_s: 0.0, short_s: 0.0, shutdowns: 0 }
    }
}

impl HostLedger {
    /// Adds a mark.
    pub(crate) fn record(&mut self, mark: HostMark) {
        if let Some(last) = self.last.filter(|last| last.time != mark.time) {
            if last.allocated > 0.0 {
                let seconds = mark.time - last.time;
                self.active_s += seconds;
                if last.allocated < last.requested {
                    self.short_s += seconds;
                }
            }
            self.settle(last);
        }
        self.last = Some(mark);
    }

    /// Counts a shutdown when `mark` is the first idle one after an active one.
    fn settle(&mut self, mark: HostMark) {
        let active = mark.allocated > 0.0;
        if self.was_active && !active {
            self.shutdowns += 1;
        }
        self.was_active = active;
    }
}

/// State of a VM from `time` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VmMark {
    /// Seconds since the start.
    pub(crate) time: f64,
    /// MIPS allocated.
    pub(crate) allocated: f64,
    /// MIPS requested.
    pub(crate) requested: f64,
    /// Whether the VM is being moved.
    pub(crate) migrating: bool,
}

/// Running totals of one VM, in MIPS-seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct VmLedger {
    last: Option<VmMark>,
    requested: f64,
    allocated: f64,
    lost_migrating: f64,
}

impl VmLedger {
    /// Adds a mark.
    pub(crate) fn record(&mut self, mark: VmMark) {
        if let Some(last) = self.last.filter(|last| last.time != mark.time) {
            let seconds = mark.time - last.time;
            self.requested += last.requested * seconds;
            self.allocated += last.allocated * seconds;
            if last.migrating && last.allocated < last.requested {
                self.lost_migrating += (last.requested - last.allocated) * seconds;
            }
        }
        self.last = Some(mark);
    }
}

/// The figures of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Energy, kWh.
    pub(crate) kwh: f64,
    /// Migrations started.
    pub(crate) migrations: usize,
    /// Part of active host time during which a host allocated less than was requested.
    pub(crate) slatah: f64,
    /// Part of the requested MIPS-seconds lost by VMs while they migrate.
    pub(crate) pdm: f64,
    /// `slatah * pdm`.
    pub(crate) slav: f64,
    /// `kwh * slav`.
    pub(crate) esv: f64,
    /// Times a host went from active to idle.
    pub(crate) shutdowns: usize,
    /// Part of the requested MIPS-seconds not delivered, for whatever reason.
    pub(crate) unserved: f64,
    /// Mean number of active hosts.
    pub(crate) mean_active_hosts: f64,
    /// Wall-clock seconds of the run.
    pub(crate) seconds: f64,
}

impl Report {
    /// Sums the ledgers of a run of `length` seconds that used `joules`.
    pub(crate) fn new<'a>(
        hosts: impl Iterator<Item = &'a HostLedger>,
        vms: impl Iterator<Item = &'a VmLedger>,
        joules: f64,
        migrations: usize,
        length: f64,
    ) -> Self {
        let (mut active_s, mut short_s, mut shutdowns) = (0.0, 0.0, 0);
        for ledger in hosts {
            active_s += ledger.active_s;
            short_s += ledger.short_s;
            shutdowns += ledger.shutdowns;
            let idle_now = ledger.last.is_some_and(|last| last.allocated <= 0.0);
            shutdowns += usize::from(ledger.was_active && idle_now);
        }
        let (mut requested, mut allocated, mut lost) = (0.0, 0.0, 0.0);
        for ledger in vms {
            requested += ledger.requested;
            allocated += ledger.allocated;
            lost += ledger.lost_migrating;
        }
        let kwh = joules / 3.6e6;
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let (slatah, pdm) = (ratio(short_s, active_s), ratio(lost, requested));
        Self {
            kwh,
            migrations,
            slatah,
            pdm,
            slav: slatah * pdm,
            esv: kwh * slatah * pdm,
            shutdowns,
            unserved: ratio(requested - allocated, requested),
            mean_active_hosts: ratio(active_s, length),
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_time_and_shutdowns() {
        let mut ledger = HostLedger::default();
        for (time, allocated, requested) in [
            (0.0, 5.0, 5.0),
            (10.0, 4.0, 5.0),
            (10.0, 4.0, 6.0),
            (15.0, 0.0, 0.0),
            (20.0, 1.0, 1.0),
        ] {
            ledger.record(HostMark { time, allocated, requested });
        }
        let report = Report::new([&ledger].into_iter(), [].into_iter(), 3.6e6, 0, 30.0);
        assert_eq!(report.slatah, 5.0 / 15.0);
        assert_eq!((report.shutdowns, report.kwh), (1, 1.0));
    }

    #[test]
    fn loss_counts_only_while_migrating() {
        let mut ledger = VmLedger::default();
        for (time, allocated, migrating) in
            [(0.0, 50.0, false), (10.0, 90.0, true), (20.0, 0.0, false)]
        {
            ledger.record(VmMark { time, allocated, requested: 100.0, migrating });
        }
        let report = Report::new([].into_iter(), [&ledger].into_iter(), 0.0, 1, 20.0);
        assert!((report.pdm - 100.0 / 2000.0).abs() < 1e-12);
        assert!((report.unserved - 600.0 / 2000.0).abs() < 1e-12);
    }
}
