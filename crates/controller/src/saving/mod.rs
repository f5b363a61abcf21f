//! The power policy's view of the cluster. What to do is decided by `drover_planner::power`;
//! `reconcile::ManagePower` takes the turns.

mod board;
mod fill;
mod tell;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{HostId, PowerCurve};
use drover_planner::power::MachineState;

use crate::records::{Cause, Tables};

pub use tell::{parameters, told};
pub use view::{Past, Seen, expected, offset, past, power_view};

/// What is known of a host as a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Whether it sleeps.
    pub state: MachineState,
    /// From the wish to the readiness for guests, learned; none before the first wake.
    pub wake_time: Option<Duration>,
    /// What it draws by how busy it is; none where nobody has learned it.
    pub curve: Option<PowerCurve>,
    /// Why it cannot be parked.
    pub may_not_park: Option<String>,
    /// Why it cannot be woken.
    pub may_not_wake: Option<String>,
}

/// What switches hosts.
#[async_trait]
pub trait Switches: Send + Sync {
    /// What is known of a host, without a look at its guests.
    fn facts(&self, tables: &Tables, host: HostId) -> Facts;

    /// Begins to wake a host, or calls back one that is still being emptied for a park.
    async fn wake(&self, host: HostId, cause: Cause) -> Result<(), String>;

    /// Begins to park a host.
    async fn park(&self, host: HostId, cause: Cause) -> Result<(), String>;
}

/// Facts of every host.
pub fn facts(switches: &dyn Switches, tables: &Tables) -> BTreeMap<HostId, Facts> {
    let hosts = tables.hosts.iter().map(|record| record.host.id);
    hosts.map(|id| (id, switches.facts(tables, id))).collect()
}
