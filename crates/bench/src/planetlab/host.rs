//! A host: its guests, and what they use now and used at the previous update.

use crate::planetlab::catalog::{self, HostKind};
use crate::planetlab::metrics::{HostLedger, HostMark, VmMark};
use crate::planetlab::shares::{self, Claim, LEAVING_SHARE, Phase};
use crate::planetlab::vm::Vm;

/// A host of the experiment.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Model.
    pub(crate) kind: &'static HostKind,
    /// VMs here, including those still arriving, in order of arrival.
    pub(crate) guests: Vec<usize>,
    /// VMs being copied here.
    pub(crate) arriving: Vec<usize>,
    /// MIPS in use at the last update.
    pub(crate) used: f64,
    /// MIPS in use at the update before.
    pub(crate) used_before: f64,
    /// Service-level totals.
    pub(crate) ledger: HostLedger,
}

impl Host {
    /// Host `index`, empty.
    pub(crate) fn new(index: usize) -> Self {
        Self {
            kind: catalog::host_kind(index),
            guests: Vec::new(),
            arriving: Vec::new(),
            used: 0.0,
            used_before: 0.0,
            ledger: HostLedger::default(),
        }
    }

    /// CPU utilisation, fraction, for `used` MIPS; a trifle above one counts as one.
    ///
    /// Source: CloudSim 3.0.3 `HostDynamicWorkload`.
    pub(crate) fn utilisation_of(&self, used: f64) -> f64 {
        let utilisation = used / self.kind.capacity();
        if utilisation > 1.0 && utilisation < 1.01 { 1.0 } else { utilisation }
    }

    /// CPU utilisation at the last update, fraction.
    pub(crate) fn utilisation(&self) -> f64 {
        self.utilisation_of(self.used)
    }

    /// Joules used over the `seconds` between the last two updates.
    pub(crate) fn joules(&self, seconds: f64) -> f64 {
        let before = self.utilisation_of(self.used_before);
        self.kind.power.joules(before, self.utilisation(), seconds)
    }

    /// Reads the demand of all guests at `now`, shares the CPU out and leaves the marks.
    ///
    /// An arriving VM asks in full but is given a tenth, so a host counts as short while it
    /// receives; a leaving VM's loss is added back to the host's use.
    /// Source: CloudSim 3.0.3 `HostDynamicWorkload`.
    pub(crate) fn update(&mut self, now: f64, vms: &mut [Vm]) {
        self.used_before = self.used;
        self.used = 0.0;
        if self.guests.is_empty() {
            self.ledger.record(HostMark { time: now, allocated: 0.0, requested: 0.0 });
            return;
        }
        let mut claims = Vec::with_capacity(self.guests.len());
        for &guest in &self.guests {
            vms[guest].refresh(now);
            let phase = if self.arriving.contains(&guest) {
                Phase::Arriving
            } else if vms[guest].migrating {
                Phase::Leaving
            } else {
                Phase::Resident
            };
            claims.push(Claim { request: vms[guest].request, phase });
        }
        let mut granted = Vec::with_capacity(claims.len());
        shares::divide(self.kind.capacity(), self.kind.core_mips, &claims, &mut granted);
        let mut requested = 0.0;
        for ((&guest, claim), &given) in self.guests.iter().zip(&claims).zip(&granted) {
            let mut given = given;
            if claim.phase != Phase::Arriving {
                let migrating = claim.phase == Phase::Leaving;
                vms[guest].ledger.record(VmMark {
                    time: now,
                    allocated: given,
                    requested: claim.request,
                    migrating,
                });
                if migrating {
                    given /= LEAVING_SHARE;
                }
            }
            self.used += given;
            requested += claim.request;
        }
        self.ledger.record(HostMark { time: now, allocated: self.used, requested });
    }

    /// Takes VM `id` off the host.
    pub(crate) fn remove(&mut self, id: usize) {
        self.guests.retain(|&guest| guest != id);
        self.arriving.retain(|&guest| guest != id);
    }
}
