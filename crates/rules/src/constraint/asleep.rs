//! A host that is switched off, or on its way there or back, takes nothing. What else speaks
//! against it (it is silent, it is not measured) follows from that and is not told.

use drover_model::Host;
use serde::{Deserialize, Serialize};

use super::PlacementPolicy;

/// Where the power of a host is going that is not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asleep {
    /// It is emptied, to be switched off.
    Parking,
    /// It was told to switch off.
    SwitchingOff,
    /// It is off.
    Parked,
    /// It is being woken.
    Waking,
    /// It was to be woken and is not of use.
    WakeFailed,
}

impl Asleep {
    /// Why nothing goes there or leaves it, with what to do about it.
    pub fn reason(self, host: &str) -> String {
        match self {
            Self::Parking => format!("{host} is being parked: `drover host wake {host}` ends that"),
            Self::SwitchingOff => format!(
                "{host} was told to switch off: wake it once it is parked, which `drover host \
                 power {host}` tells"
            ),
            Self::Parked => {
                format!("{host} is parked, that is asleep: `drover host wake {host}` wakes it")
            }
            Self::Waking => {
                format!("{host} is being woken: `drover host power {host}` tells how far it is")
            }
            Self::WakeFailed => format!(
                "{host} was to be woken and is not of use: `drover host power {host}` tells why"
            ),
        }
    }
}

/// Why nothing is placed on this host; none where it is awake.
pub(super) fn check(policy: &PlacementPolicy, target: &Host) -> Option<String> {
    policy.asleep.get(&target.id).map(|asleep| asleep.reason(&target.name))
}
