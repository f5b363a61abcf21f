//! The one door through which rules have hosts woken.

use std::time::Duration;

use drover_model::{HostId, Timestamp};

use crate::power::request_wake;
use crate::records::{Cause, PolicyName, PowerPhase, Records, Tables};

/// Where a host's power is, as far as a rule must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is off and may be woken.
    Parked,
    /// It is being emptied to be parked, by the power policy, and may be called back.
    Leaving,
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

/// The hosts that are off, on their way up or down, or did not come up, in id order.
pub fn sleepers(tables: &Tables) -> Vec<Sleeper> {
    // As for a rule.
    let policy = Cause::Policy { name: PolicyName::Power };
    let known = tables.power.iter().filter(|record| tables.hosts.get(record.host).is_some());
    known
        .filter_map(|record| {
            let standing = match &record.phase {
                PowerPhase::Settled => return None,
                PowerPhase::Parking(_) if record.called_back.is_some() => Standing::Waking,
                PowerPhase::Parking(_) if record.can_be_called_back(&policy) => Standing::Leaving,
                PowerPhase::Parking(_) => return None,
                PowerPhase::Parked(_) => Standing::Parked,
                PowerPhase::Waking(_) => Standing::Waking,
                PowerPhase::WakeFailed(_) => Standing::Failed { at: record.since },
            };
            Some(Sleeper { host: record.host, standing, takes: record.wake_times.mean() })
        })
        .collect()
}

/// Hosts that are closed to guests for no other reason than that: the drain that
/// emptied them ends when they are awake.
pub fn open_when_awake(tables: &Tables, host: HostId) -> bool {
    let drain = tables.maintenance.get(host).map(|record| record.begun);
    drain.is_none() || drain == tables.power.get(host).and_then(|record| record.drain)
}

/// Begins to wake a host, or calls its park back; whether it is awake shows later. An error says why nothing begins.
pub async fn ask(
    records: &Records,
    host: HostId,
    cause: Cause,
    now: Timestamp,
) -> Result<(), String> {
    let asked = request_wake(records, host, cause, now).await;
    asked.map(drop).map_err(|error| error.to_string())
}
