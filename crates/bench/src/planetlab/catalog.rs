//! The machines of the experiment. Source: CloudSim 3.0.3 `examples.power.Constants`.

use drover_model::PowerCurve;

/// A model of host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HostKind {
    /// Short name for reports.
    pub(crate) name: &'static str,
    /// Number of cores.
    pub(crate) cores: usize,
    /// Speed of one core, MIPS.
    pub(crate) core_mips: f64,
    /// Memory, MB.
    pub(crate) ram_mb: f64,
    /// Network bandwidth, kbit/s.
    pub(crate) bandwidth: f64,
    /// Power draw by utilisation.
    pub(crate) power: PowerCurve,
}

impl HostKind {
    /// CPU capacity over all cores, MIPS.
    pub(crate) fn capacity(&self) -> f64 {
        self.cores as f64 * self.core_mips
    }
}

/// HP ProLiant ML110 G4 (Xeon 3040).
pub(crate) static G4: HostKind = HostKind {
    name: "G4",
    cores: 2,
    core_mips: 1860.0,
    ram_mb: 4096.0,
    bandwidth: BANDWIDTH,
    power: PowerCurve([86.0, 89.4, 92.6, 96.0, 99.5, 102.0, 106.0, 108.0, 112.0, 114.0, 117.0]),
};

/// HP ProLiant ML110 G5 (Xeon 3075).
pub(crate) static G5: HostKind = HostKind {
    name: "G5",
    cores: 2,
    core_mips: 2660.0,
    ram_mb: 4096.0,
    bandwidth: BANDWIDTH,
    power: PowerCurve([93.7, 97.0, 101.0, 105.0, 110.0, 116.0, 121.0, 125.0, 129.0, 133.0, 135.0]),
};

/// Number of hosts.
pub(crate) const HOSTS: usize = 800;

/// Network bandwidth of every host, kbit/s.
pub(crate) const BANDWIDTH: f64 = 1_000_000.0;

/// The kind of host `index`: the two models alternate.
pub(crate) fn host_kind(index: usize) -> &'static HostKind {
    if index.is_multiple_of(2) { &G4 } else { &G5 }
}

/// Size of a VM: (MIPS of its single core, MB of memory).
///
/// The VMs, in file order, are cut in four equal parts, one per instance type.
pub(crate) fn vm_size(index: usize, count: usize) -> (f64, f64) {
    const TYPES: [(f64, f64); 4] =
        [(2500.0, 870.0), (2000.0, 1740.0), (1000.0, 1740.0), (500.0, 613.0)];
    TYPES[index / count.div_ceil(TYPES.len()).max(1)]
}

/// Seconds to move a VM of `ram_mb` to a host with `bandwidth` kbit/s, half of it free for moves.
///
/// Source: CloudSim 3.0.3 `PowerDatacenter` (about 16 s per GB at 1 Gbit/s).
pub(crate) fn migration_seconds(ram_mb: f64, bandwidth: f64) -> f64 {
    ram_mb / (bandwidth / (2.0 * 8000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_and_alternation() {
        assert_eq!(vm_size(0, 1052), (2500.0, 870.0));
        assert_eq!(vm_size(262, 1052).0, 2500.0);
        assert_eq!(vm_size(263, 1052).0, 2000.0);
        assert_eq!(vm_size(1051, 1052), (500.0, 613.0));
        assert_eq!(vm_size(9, 10).0, 500.0);
        assert_eq!((host_kind(0).name, host_kind(799).name), ("G4", "G5"));
    }

    #[test]
    fn a_gigabyte_takes_sixteen_seconds() {
        assert!((migration_seconds(1000.0, 1_000_000.0) - 16.0).abs() < 1e-9);
    }
}
