//! Keeps a connection: opens it, waits until it breaks, opens it again.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use drover_model::GuestId;
use drover_ports::HypervisorEvent;
use tokio::sync::broadcast;

use crate::connection::{Connection, Notice, Params};

/// Events that a slow listener may be behind; it is told and reads everything again.
const EVENT_BACKLOG: usize = 1024;
/// First and longest wait between two tries to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

/// A connection that comes back by itself.
#[derive(Debug)]
pub(crate) struct Reconnecting {
    current: Mutex<Option<Arc<Connection>>>,
    /// Statistics of each guest's last completed job, until somebody takes them.
    jobs: Mutex<BTreeMap<GuestId, Params>>,
    events: broadcast::Sender<HypervisorEvent>,
}

impl Reconnecting {
    /// Starts connecting in the background.
    pub(crate) fn start(uri: String) -> Arc<Self> {
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let shared = Arc::new(Self { current: Mutex::new(None), jobs: Mutex::default(), events });
        let weak = Arc::downgrade(&shared);
        let spawned = std::thread::Builder::new()
            .name("libvirt-connect".to_owned())
            .spawn(move || keep(&weak, &uri));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to connect to libvirtd");
        }
        shared
    }

    /// The connection, if it is up.
    pub(crate) fn get(&self) -> Option<Arc<Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.events.subscribe()
    }

    /// Takes the statistics of the guest's last completed job.
    pub(crate) fn take_job(&self, guest: GuestId) -> Option<Params> {
        self.lock_jobs().remove(&guest)
    }

    fn lock_jobs(&self) -> MutexGuard<'_, BTreeMap<GuestId, Params>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, connection: Option<Arc<Connection>>) {
        let before = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, connection)
        };
        // Closing talks to libvirt: not under the lock.
        drop(before);
    }

    fn tell(&self, event: HypervisorEvent) {
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }
}

/// Ends when the owner is gone.
fn keep(owner: &Weak<Reconnecting>, uri: &str) {
    let mut wait = BACK_OFF.0;
    loop {
        if owner.strong_count() == 0 {
            return;
        }
        let (sender, notices): (Sender<Notice>, Receiver<Notice>) = channel();
        match Connection::open(uri, sender) {
            Ok(connection) => {
                wait = BACK_OFF.0;
                let Some(shared) = owner.upgrade() else { return };
                shared.set(Some(Arc::new(connection)));
                shared.tell(HypervisorEvent::Connected);
                drop(shared);
                forward(owner, &notices);
            }
            Err(error) => {
                tracing::debug!(%uri, %error, "libvirtd does not answer");
                std::thread::sleep(wait);
                wait = (wait * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Forwards notices until the connection is closed or the owner is gone.
fn forward(owner: &Weak<Reconnecting>, notices: &Receiver<Notice>) {
    loop {
        // The timeout only lets the thread end when its owner is gone.
        let notice = notices.recv_timeout(Duration::from_secs(5));
        let Some(shared) = owner.upgrade() else { return };
        let event = match notice {
            Ok(Notice::Lifecycle(guest)) => HypervisorEvent::Lifecycle { guest },
            Ok(Notice::Iteration(guest, iteration)) => {
                HypervisorEvent::MigrationIteration { guest, iteration }
            }
            Ok(Notice::Job(guest, statistics)) => {
                shared.lock_jobs().insert(guest, statistics);
                HypervisorEvent::JobCompleted { guest }
            }
            Ok(Notice::Device(guest)) => HypervisorEvent::DeviceChanged { guest },
            Ok(Notice::Closed) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                shared.set(None);
                shared.tell(HypervisorEvent::Disconnected);
                return;
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => continue,
        };
        shared.tell(event);
    }
}
