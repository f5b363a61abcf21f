//! Carries on with hosts that are switched on or off, and sees which came up by themselves.
//!
//! A turn looks at every host on its way and stores what follows; what is to be done then takes
//! as long as a BMC or an agent does, so it goes on beside the turns, one thing at a time for
//! each host.

use std::time::Duration;

use async_trait::async_trait;
use drover_lifecycle::power::{ParkEvent, ParkState, WakeEvent};
use drover_model::HostId;

use super::Reconcile;
use crate::drain::{MOST_TRIES, is_busy, is_touched, leaving};
use crate::power::{Happening, HostTasks, Switchboard, sight};
use crate::records::{Hanging, MaintenancePhase, PowerPhase, PowerRecord, Tables};

/// A guest that hangs counts after so long: that it could leave was just shown, and loads change.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct SwitchHosts {
    /// What does it.
    pub board: Switchboard,
    /// What is being done for which host.
    pub tasks: HostTasks,
}

#[async_trait]
impl Reconcile for SwitchHosts {
    fn name(&self) -> &'static str {
        "switch-hosts"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        let on_their_way: Vec<PowerRecord> = {
            let tables = self.board.records.read();
            let moving = |record: &&PowerRecord| record.phase != PowerPhase::Settled;
            tables.power.iter().filter(moving).cloned().collect()
        };
        for record in on_their_way {
            let happening = self.look(&record);
            for happening in happening {
                self.board.take(record.host, happening).await;
            }
            self.carry_on(record.host);
        }
        Ok(())
    }
}

impl SwitchHosts {
    /// Over this board.
    pub const fn new(board: Switchboard) -> Self {
        Self { board, tasks: HostTasks::new() }
    }

    /// Waits until nothing is being done.
    pub async fn idle(&self) {
        self.tasks.idle("switching a host").await;
    }

    fn carry_on(&self, host: HostId) {
        let asks = {
            let tables = self.board.records.read();
            match tables.power.get(host).map(|record| &record.phase) {
                Some(PowerPhase::Waking(wake)) => !wake.effects().is_empty(),
                Some(PowerPhase::Parking(park)) => !park.effects().is_empty(),
                _ => false,
            }
        };
        if asks {
            let board = self.board.clone();
            self.tasks.begin(host, usize::MAX, async move { board.carry_out(host).await });
        }
    }

    fn look(&self, record: &PowerRecord) -> Vec<Happening> {
        let tables = self.board.records.read();
        match &record.phase {
            PowerPhase::Settled => Vec::new(),
            PowerPhase::Parked(_) | PowerPhase::Waking(_) | PowerPhase::WakeFailed(_) => {
                let seen = sight(&tables, &self.board.live, record);
                vec![Happening::Wake(WakeEvent::Seen(seen))]
            }
            PowerPhase::Parking(park) => {
                let event = match park.state {
                    ParkState::Draining => self.drain(&tables, record),
                    _ => self.silence(&tables, record),
                };
                event.into_iter().map(Happening::Park).collect()
            }
        }
    }

    /// How far the drain is.
    fn drain(&self, tables: &Tables, record: &PowerRecord) -> Option<ParkEvent> {
        let host = record.host;
        if let Some(by) = &record.called_back {
            return Some(ParkEvent::CalledBack(by.to_string()));
        }
        let Some(drain) = tables.maintenance.get(host) else { return Some(ParkEvent::Abandoned) };
        let left = leaving(tables, host);
        let hanging = |guest| drain.hanging.iter().find(|one| one.guest == guest);
        let patient = self.board.clock.now().since(record.since) < HANGS_AFTER;
        let gives_up = |one: &Hanging| one.failures >= MOST_TRIES || !patient;
        let stuck = left
            .iter()
            .all(|guest| hanging(*guest).is_some_and(gives_up) && !is_busy(tables, *guest));
        if !left.is_empty() && stuck {
            let named = drain
                .hanging
                .iter()
                .map(|one| format!("{}: {}", tables.guest_name(one.guest), one.why));
            return Some(ParkEvent::Hangs(named.collect::<Vec<_>>().join("; ")));
        }
        if drain.phase != MaintenancePhase::Drained || !left.is_empty() || is_touched(tables, host)
        {
            return None;
        }
        let agent = self.board.live.session(host).and_then(|session| session.incarnation);
        Some(ParkEvent::Drained { agent })
    }

    /// Whether its agent is still there. Nothing is said of one that has not said hello yet.
    fn silence(&self, tables: &Tables, record: &PowerRecord) -> Option<ParkEvent> {
        if !leaving(tables, record.host).is_empty() {
            return Some(ParkEvent::Occupied);
        }
        match self.board.live.session(record.host) {
            None => Some(ParkEvent::Seen { agent: None }),
            Some(session) => {
                session.incarnation.map(|agent| ParkEvent::Seen { agent: Some(agent) })
            }
        }
    }
}
