//! Settings, progress and outcome of one migration.

use serde::{Deserialize, Serialize};

use crate::{Bytes, Timestamp};

/// How a live migration is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationSettings {
    /// Longest pause that QEMU may plan for the switch-over, milliseconds.
    /// QEMU's own default is 300.
    pub max_downtime_ms: u64,
    /// Cap on the transfer, MiB/s; none means the link's speed.
    pub max_bandwidth_mib_s: Option<u64>,
}

impl Default for MigrationSettings {
    fn default() -> Self {
        Self { max_downtime_ms: 300, max_bandwidth_mib_s: None }
    }
}

/// A running migration job, from libvirt's job statistics.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MigrationProgress {
    /// When it was read, by the source's clock.
    pub at: Timestamp,
    /// Time since the job began.
    pub elapsed_ms: u64,
    /// Bytes to send in all, as of now.
    pub total: Bytes,
    /// Bytes sent or found to be zero pages.
    pub processed: Bytes,
    /// Bytes still to send.
    pub remaining: Bytes,
    /// Pages dirtied in one second by the guest, times the page size.
    pub dirty_rate: Bytes,
    /// Bytes sent in one second.
    pub throughput: Bytes,
    /// Passes over the guest's memory so far.
    pub iteration: u32,
    /// The pause that QEMU expects at the switch-over.
    pub expected_downtime_ms: Option<u64>,
}

impl MigrationProgress {
    /// Part done, 0 to 100; moves back when the guest dirties memory.
    #[expect(clippy::cast_precision_loss, reason = "shown as whole percent")]
    pub fn percent(&self) -> f64 {
        let whole = self.processed.0 + self.remaining.0;
        if whole == 0 { 0.0 } else { self.processed.0 as f64 * 100.0 / whole as f64 }
    }
}

/// What a completed migration measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MigrationOutcome {
    /// From libvirt's first phase to the end of the source's copy.
    pub total_ms: u64,
    /// The pause that libvirt reports for the switch-over, where it does.
    pub downtime_ms: Option<u64>,
    /// Bytes sent, where it is known.
    pub transferred: Option<Bytes>,
    /// Passes over the guest's memory, where it is known.
    pub iterations: Option<u32>,
}
