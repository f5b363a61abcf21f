//! What is known of connected agents now and is not kept: sessions, newest samples,
//! which guests each host last reported as active.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_agent_api::v1::FromController;
use drover_model::{Guest, GuestId, HostId, Metric, MigrationProgress, OperationId, Timestamp};
use drover_ports::{Entity, SamplePoint};
use tokio::sync::mpsc;

use crate::inventory::Sightings;

/// Commands that may wait for one agent: it takes them as fast as the network does.
pub const SESSION_QUEUE: usize = 256;

/// One agent's session.
#[derive(Debug, Clone)]
struct Session {
    number: u64,
    sender: mpsc::Sender<FromController>,
    hypervisor_connected: bool,
    active: HashSet<GuestId>,
    heard: Timestamp,
    since: Timestamp,
    incarnation: Option<String>,
    beside: bool,
}

/// Newest sample of a host or guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// When.
    pub at: Timestamp,
    /// Values by metric.
    pub values: BTreeMap<Metric, f64>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<HostId, Session>,
    /// When hosts were last heard whose session has ended.
    heard_before: HashMap<HostId, Timestamp>,
    latest: HashMap<Entity, Latest>,
    progress: HashMap<OperationId, MigrationProgress>,
    last_session: u64,
    unclear: BTreeMap<(HostId, GuestId), Unclear>,
    questions: Questions,
}

/// A guest that is active on a host although another one owns it.
#[derive(Debug, Clone, PartialEq)]
pub struct Unclear {
    /// The guest as that host has it.
    pub guest: Guest,
    /// Since when.
    pub since: Timestamp,
    /// It was said that the guest runs twice.
    pub told: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Live(Mutex<Inner>);

/// Questions to agents.
mod ask;
mod session;

use ask::Questions;
pub use ask::{Answer, AskError, Question};
pub use session::SessionSeen;

impl Live {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session of this host replaces the one before. Returns its number.
    pub fn connect(
        &self,
        host: HostId,
        sender: mpsc::Sender<FromController>,
        now: Timestamp,
    ) -> u64 {
        let mut inner = self.lock();
        inner.last_session += 1;
        inner.questions.forget(host);
        let number = inner.last_session;
        inner.sessions.insert(
            host,
            Session {
                number,
                sender,
                hypervisor_connected: false,
                active: HashSet::new(),
                heard: now,
                since: now,
                incarnation: None,
                beside: false,
            },
        );
        number
    }

    /// The session ended. False when a newer one has replaced it.
    pub fn disconnect(&self, host: HostId, number: u64) -> bool {
        let mut inner = self.lock();
        let current = inner.sessions.get(&host).is_some_and(|session| session.number == number);
        if let (true, Some(session)) = (current, inner.sessions.get(&host).cloned()) {
            inner.sessions.remove(&host);
            inner.unclear.retain(|(of, _), _| *of != host);
            inner.questions.forget(host);
            inner.heard_before.insert(host, session.heard);
        }
        current
    }

    /// Notes that the host was heard.
    pub fn heard(&self, host: HostId, now: Timestamp) {
        if let Some(session) = self.lock().sessions.get_mut(&host) {
            session.heard = now;
        }
    }

    /// When a host was last heard since this controller started.
    pub fn last_heard(&self, host: HostId) -> Option<Timestamp> {
        let inner = self.lock();
        let session = inner.sessions.get(&host).map(|session| session.heard);
        session.or_else(|| inner.heard_before.get(&host).copied())
    }

    /// Notes a complete inventory.
    pub fn inventory(&self, host: HostId, hypervisor_connected: bool, active: HashSet<GuestId>) {
        if let Some(session) = self.lock().sessions.get_mut(&host) {
            session.hypervisor_connected = hypervisor_connected;
            session.active = active;
        }
    }

    /// Whether the host's agent is connected.
    pub fn is_connected(&self, host: HostId) -> bool {
        self.lock().sessions.contains_key(&host)
    }

    /// Notes all guests of a host of which it is unclear whose they are.
    pub fn unclear(&self, host: HostId, guests: Vec<Guest>, now: Timestamp) {
        let mut inner = self.lock();
        let ids: Vec<GuestId> = guests.iter().map(|guest| guest.id).collect();
        inner.unclear.retain(|(of, guest), _| *of != host || ids.contains(guest));
        for guest in guests {
            let id = guest.id;
            let new = Unclear { guest: guest.clone(), since: now, told: false };
            inner.unclear.entry((host, id)).or_insert(new).guest = guest;
        }
    }

    /// What is unclear, with the host that each was seen on.
    pub fn all_unclear(&self) -> Vec<(HostId, Unclear)> {
        self.lock().unclear.iter().map(|((host, _), unclear)| (*host, unclear.clone())).collect()
    }

    /// It has become clear.
    pub fn is_clear(&self, host: HostId, guest: GuestId) {
        self.lock().unclear.remove(&(host, guest));
    }

    /// It was said that the guest runs twice.
    pub fn told(&self, host: HostId, guest: GuestId) {
        if let Some(unclear) = self.lock().unclear.get_mut(&(host, guest)) {
            unclear.told = true;
        }
    }

    /// Sends to the host's agent. False when it is not connected or does not take it.
    pub fn send(&self, host: HostId, message: FromController) -> bool {
        self.lock()
            .sessions
            .get(&host)
            .is_some_and(|session| session.sender.try_send(message).is_ok())
    }

    /// Notes samples.
    pub fn sampled(&self, points: &[SamplePoint]) {
        let mut inner = self.lock();
        for point in points {
            let newer = inner.latest.get(&point.entity).is_none_or(|latest| latest.at <= point.at);
            if newer {
                let values = point.values.iter().copied().collect();
                inner.latest.insert(point.entity, Latest { at: point.at, values });
            }
        }
    }

    /// Newest sample.
    pub fn latest(&self, entity: Entity) -> Option<Latest> {
        self.lock().latest.get(&entity).cloned()
    }

    /// Notes progress.
    pub fn progressed(&self, operation: OperationId, progress: MigrationProgress) {
        self.lock().progress.insert(operation, progress);
    }

    /// Last progress of an operation.
    pub fn progress(&self, operation: OperationId) -> Option<MigrationProgress> {
        self.lock().progress.get(&operation).copied()
    }

    /// Forgets the progress of a finished operation and returns it.
    pub fn finish(&self, operation: OperationId) -> Option<MigrationProgress> {
        self.lock().progress.remove(&operation)
    }
}

impl Sightings for Live {
    fn answers(&self, host: HostId) -> bool {
        self.lock().sessions.get(&host).is_some_and(|session| session.hypervisor_connected)
    }

    fn active_on(&self, guest: GuestId, host: HostId) -> bool {
        self.lock().sessions.get(&host).is_some_and(|session| session.active.contains(&guest))
    }

    fn active_elsewhere(&self, guest: GuestId, than: HostId) -> bool {
        self.lock()
            .sessions
            .iter()
            .any(|(host, session)| *host != than && session.active.contains(&guest))
    }
}
