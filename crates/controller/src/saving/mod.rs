//! The power policy's view of the cluster. What to do is decided by `drover_planner::power`;
//! `reconcile::ManagePower` takes the turns.

mod board;
mod tell;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use drover_model::{HostId, HostState, PowerCurve, Timestamp};
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

    /// Why nothing can be switched at all; none where it can.
    fn idle(&self) -> Option<String>;

    /// Begins to wake a host.
    async fn wake(&self, host: HostId, cause: Cause) -> Result<(), String>;

    /// Begins to park a host.
    async fn park(&self, host: HostId, cause: Cause) -> Result<(), String>;
}

/// A controller that cannot switch hosts: it only suggests.
#[derive(Debug, Clone, Copy, Default)]
pub struct SuggestOnly;

/// Nothing switches hosts here.
const NO_SWITCHES: &str = "this controller cannot switch hosts on and off";

#[async_trait]
impl Switches for SuggestOnly {
    fn facts(&self, tables: &Tables, host: HostId) -> Facts {
        let online = tables.hosts.get(host).is_some_and(|of| of.host.state == HostState::Online);
        let used = online && tables.maintenance.get(host).is_none();
        let state =
            if used { MachineState::On { since: Timestamp::EPOCH } } else { MachineState::Away };
        Facts { state, wake_time: None, curve: None, may_not_park: None, may_not_wake: None }
    }

    fn idle(&self) -> Option<String> {
        Some(NO_SWITCHES.to_owned())
    }

    async fn wake(&self, _: HostId, _: Cause) -> Result<(), String> {
        Err(NO_SWITCHES.to_owned())
    }

    async fn park(&self, _: HostId, _: Cause) -> Result<(), String> {
        Err(NO_SWITCHES.to_owned())
    }
}

/// Facts of every host.
pub fn facts(switches: &dyn Switches, tables: &Tables) -> BTreeMap<HostId, Facts> {
    let hosts = tables.hosts.iter().map(|record| record.host.id);
    hosts.map(|id| (id, switches.facts(tables, id))).collect()
}
