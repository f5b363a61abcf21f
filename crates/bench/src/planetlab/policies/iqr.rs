//! IQR: the threshold shrinks as the load gets more variable.

use crate::planetlab::policies::baseline::Overload;
use crate::planetlab::policies::plan::Load;
use crate::planetlab::policies::threshold::FALLBACK;
use crate::planetlab::stats;

/// Adaptive threshold `1 - safety * IQR(history)`. Source: CloudSim 3.0.3
/// `PowerVmAllocationPolicyMigrationInterQuartileRange`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Iqr {
    /// How strongly variability lowers the threshold.
    pub(crate) safety: f64,
}

/// Samples needed before the range means something.
const ENOUGH: usize = 12;

impl Overload for Iqr {
    fn overloaded(&self, load: &Load) -> bool {
        let known = load.known_history();
        if known.len() < ENOUGH {
            return FALLBACK.overloaded(load);
        }
        let range = stats::interquartile_range(&mut known.to_vec());
        load.requested / load.capacity > 1.0 - self.safety * range
    }
}
