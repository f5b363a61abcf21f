//! Who may run a guest. One record per guest, changed by compare-and-swap only.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{GuestId, HostId, OperationId};

/// Counts the changes of a guest's owner. Agents keep the highest they have seen and
/// refuse commands with a lower one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is being done with the guest's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum OwnerPhase {
    /// It belongs to its host and nothing is under way.
    Settled,
    /// It runs on `host`; a migration to `to` is under way.
    Leaving {
        /// The target.
        to: HostId,
        /// The operation that moves it.
        operation: OperationId,
    },
    /// Its state has arrived on `host`, the copy at `from` is proven gone, and the
    /// agent on `host` has been told to resume it. Under post-copy: it is being switched
    /// over, and the copy at `from` is not resumed any more.
    Arriving {
        /// Where it came from.
        from: HostId,
        /// The operation that moves it.
        operation: OperationId,
    },
}

/// The owner of one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// The guest.
    pub guest: GuestId,
    /// The only host that may run it.
    pub host: HostId,
    /// Fencing token of the latest change.
    pub epoch: Epoch,
    /// What is under way.
    pub phase: OwnerPhase,
}
