//! The one door through which rules have hosts woken.

use std::time::Duration;

use drover_model::{HostId, Timestamp};

use crate::records::{Cause, Records, Tables};

/// Where a host's power is, as far as a rule must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is off and may be woken.
    Parked,
    /// It is being woken.
    Waking,
    /// It was to be woken and is not of use.
    Failed {
        /// When that was clear.
        at: Timestamp,
    },
}

/// A host that is not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sleeper {
    /// The host.
    pub host: HostId,
    /// Where its power is.
    pub standing: Standing,
    /// What its wakes took lately; none before the first.
    pub takes: Option<Duration>,
}

/// The hosts that are off or on their way up, in id order.
pub fn sleepers(_tables: &Tables) -> Vec<Sleeper> {
    Vec::new()
}

/// Begins to wake a host; whether it is awake shows later. An error says why nothing begins.
pub async fn ask(
    _records: &Records,
    _host: HostId,
    _cause: Cause,
    _now: Timestamp,
) -> Result<(), String> {
    Err("no way to wake it is known".to_owned())
}
