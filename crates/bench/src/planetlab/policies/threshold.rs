//! THR: overloaded above a fixed utilisation.

use crate::planetlab::policies::baseline::Overload;
use crate::planetlab::policies::plan::Load;

/// Static threshold. Source: CloudSim 3.0.3 `PowerVmAllocationPolicyMigrationStaticThreshold`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threshold {
    /// Highest tolerated demand over capacity.
    pub(crate) limit: f64,
}

/// The threshold the adaptive rules fall back on while history is short. Source: CloudSim 3.0.3
/// `examples.power.RunnerAbstract`.
pub(crate) const FALLBACK: Threshold = Threshold { limit: 0.7 };

impl Overload for Threshold {
    fn overloaded(&self, load: &Load) -> bool {
        load.requested / load.capacity > self.limit
    }
}
