//! Switching hosts on and off: takes events, stores the next state, then carries out what it
//! asks for. What to do is decided by `drover_lifecycle::power`.
//!
//! [`request_wake`] and [`Switchboard::request_park`] begin; `reconcile::SwitchHosts` looks at
//! every host on its way and carries on, also after a restart of the controller.

mod act;
mod bmcs;
mod neighbours;
mod park;
mod refusal;
mod sight;
mod step;
mod story;
mod survive;
mod tasks;
mod vault;
mod wake;
mod watts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drover_model::{HostId, Timestamp};
use drover_ports::{Clock, History};

use crate::events::Events;
use crate::live::Live;
use crate::records::Records;

pub use bmcs::Bmcs;
pub use neighbours::{Reach, Sender, macs, senders};
pub use park::{ParkError, ParkPurpose, ParkWish};
pub use refusal::{NEVER_PARKED_LABELS, ParkReason, ParkRefusal, reasons};
pub use sight::{belongings, missing, sight};
pub use step::Happening;
pub use tasks::HostTasks;
pub use vault::{KEY_FILE, SecretKind, Vault, VaultError};
pub use wake::{Asked, WakeError, methods, request_wake, wake_settings};
pub use watts::{BmcAnswer, BmcWatts, is_measured};

/// Switches hosts.
#[derive(Clone)]
pub struct Switchboard {
    /// Records.
    pub records: Arc<Records>,
    /// Sessions.
    pub live: Arc<Live>,
    /// Event log.
    pub events: Arc<Events>,
    /// Metric history: plans for the guests of a host that is to be parked.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// BMCs and their passwords.
    pub bmcs: Arc<Bmcs>,
    /// What BMCs say that hosts draw.
    pub watts: Arc<BmcWatts>,
    /// Of healthy agents.
    pub sample_interval: Duration,
    /// Silence after which a host counts as unreachable.
    pub unreachable_after: Duration,
    /// When each BMC was last asked whether its host is on. Lost with the process: then it is
    /// asked early.
    pub asked: Arc<Mutex<BTreeMap<HostId, Timestamp>>>,
    /// One search for a host's guests at a time: each takes a core.
    pub searching: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switchboard").finish_non_exhaustive()
    }
}
