//! The power policy's wishes, carried out by the board that switches hosts.

use async_trait::async_trait;
use drover_model::{HostId, HostState, Metric, PowerLine, Timestamp};
use drover_planner::power::MachineState;

use super::{Facts, Switches};
use crate::power::{Asked, ParkPurpose, ParkReason, ParkWish, Switchboard, methods, request_wake};
use crate::records::{Cause, PolicyName, PowerPhase, PowerRecord, Tables};
use crate::view::lines;
use crate::waker::open_when_awake;

const CAUSE: Cause = Cause::Policy { name: PolicyName::Power };

#[async_trait]
impl Switches for Switchboard {
    fn facts(&self, tables: &Tables, host: HostId) -> Facts {
        let record = tables.power.get(host);
        Facts {
            state: state(tables, host, record),
            wake_time: record.and_then(|record| record.wake_times.longest()),
            curve: lines(tables, host).get(&Metric::PowerWatts).map(PowerLine::curve),
            may_not_park: self.may_not_park(tables, host),
            may_not_wake: may_not_wake(tables, host, record),
        }
    }

    async fn wake(&self, host: HostId, cause: Cause) -> Result<(), String> {
        let asked = request_wake(&self.records, host, cause, self.clock.now()).await;
        match asked {
            Ok(Asked::Begun | Asked::UnderWay | Asked::Up) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn park(&self, host: HostId, cause: Cause) -> Result<(), String> {
        let parked = self.request_park(host, wish(cause)).await;
        parked.map_err(|error| error.to_string())
    }
}

impl Switchboard {
    /// What speaks against parking it before its guests are looked at. How many must stay
    /// awake is asked when it is parked: it changes with every host.
    fn may_not_park(&self, tables: &Tables, host: HostId) -> Option<String> {
        let all = crate::power::reasons(tables, &self.live, host, &wish(CAUSE));
        let lasting = all.into_iter().filter(|one| one.reason != ParkReason::MinAwake);
        let texts: Vec<String> = lasting.map(|one| one.text).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

const fn wish(cause: Cause) -> ParkWish {
    ParkWish { purpose: ParkPurpose::Sleep, untested: false, cause }
}

/// A host that somebody drains, or whose agent is silent without having been parked, is left
/// alone.
fn state(tables: &Tables, host: HostId, record: Option<&PowerRecord>) -> MachineState {
    let since = record.map_or(Timestamp::EPOCH, |record| record.since);
    match record.map(|record| &record.phase) {
        Some(PowerPhase::Parking(_)) => match record {
            Some(record) if record.called_back.is_some() => MachineState::Waking { since },
            // One that somebody drains besides would be of no use.
            Some(record) if record.can_be_called_back(&CAUSE) && open_when_awake(tables, host) => {
                MachineState::Leaving { since }
            }
            _ => MachineState::Parking { since },
        },
        Some(PowerPhase::Parked(_) | PowerPhase::WakeFailed(_)) => MachineState::Off { since },
        Some(PowerPhase::Waking(_)) => MachineState::Waking { since },
        Some(PowerPhase::Settled) | None => {
            let online =
                tables.hosts.get(host).is_some_and(|of| of.host.state == HostState::Online);
            if online && tables.maintenance.get(host).is_none() {
                MachineState::On { since }
            } else {
                MachineState::Away
            }
        }
    }
}

fn may_not_wake(tables: &Tables, host: HostId, record: Option<&PowerRecord>) -> Option<String> {
    match record.map(|record| &record.phase) {
        Some(PowerPhase::WakeFailed(_)) => {
            let last = record.and_then(|record| record.last_wake.as_ref());
            let why = last.and_then(|last| last.failure.clone());
            Some(why.unwrap_or_else(|| "its last wake failed".to_owned()))
        }
        _ if methods(tables, host).is_empty() => Some("no way to wake it is known".to_owned()),
        _ => None,
    }
}
