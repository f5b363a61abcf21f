//! What an agent measures at one moment.

use serde::{Deserialize, Serialize};

use crate::{GuestId, HostId, Metric, Timestamp};

/// One host at one moment. Rates are means since the sample before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostSample {
    /// Which host.
    pub host: HostId,
    /// When, by the host's clock.
    pub at: Timestamp,
    /// Values by metric; a metric that the host cannot measure is absent.
    pub values: Vec<(Metric, f64)>,
}

/// One guest at one moment. Rates are means since the sample before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestSample {
    /// Which guest.
    pub guest: GuestId,
    /// When, by its host's clock.
    pub at: Timestamp,
    /// Values by metric; a metric that the host cannot measure is absent.
    pub values: Vec<(Metric, f64)>,
}
