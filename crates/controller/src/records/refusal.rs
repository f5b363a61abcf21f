//! What checks before moves have found, for a while.

use std::collections::BTreeMap;

use drover_model::{GuestId, HostId};
use drover_rules::constraint::KnownRefusal;
use serde::{Deserialize, Serialize};

/// Where one guest was not let go of late, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRecord {
    /// The guest.
    pub guest: GuestId,
    /// To any host.
    pub everywhere: Option<Refused>,
    /// To one host.
    pub to: BTreeMap<HostId, Refused>,
}

/// One refusal, and what it was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The refusal.
    pub refusal: KnownRefusal,
    /// Fingerprint of the guest and the hosts as they were: when it is another one the refusal
    /// counts no more.
    pub of: String,
}
