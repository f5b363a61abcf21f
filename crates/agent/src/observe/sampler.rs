//! Measures at every interval and keeps the samples for the session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use drover_agent_api::v1::{Sample, Value, sample::Entity};
use drover_model::Timestamp;
use drover_ports::{GuestStats, Hypervisor, HypervisorError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use super::buffer::SampleBuffer;
use super::fold::{self, Values};
use super::read::Reader;
use super::snapshot::Snapshot;

/// Longest wait for libvirt's counters; after it the sample goes without guests.
const STATS_TIMEOUT: Duration = Duration::from_secs(3);

/// Samples that wait for the controller, and a bell for new ones.
#[derive(Debug, Default)]
pub struct SampleStore {
    buffer: Mutex<SampleBuffer>,
    fresh: Notify,
}

impl SampleStore {
    /// The buffer.
    pub fn buffer(&self) -> MutexGuard<'_, SampleBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for samples that came after the last wait.
    pub async fn fresh(&self) {
        self.fresh.notified().await;
    }

    fn push(&self, at: Timestamp, samples: Vec<Sample>) {
        let mut buffer = self.buffer();
        let dropped = buffer.dropped();
        buffer.push(at, samples);
        if dropped == 0 && buffer.dropped() > 0 {
            warn!("the controller has been away for so long that the oldest samples are dropped");
        }
        drop(buffer);
        self.fresh.notify_one();
    }
}

/// Measures host and guests.
pub struct Sampler {
    reader: Reader,
    guests: GuestCounters,
    store: Arc<SampleStore>,
    previous: Option<Snapshot>,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl Sampler {
    /// A sampler that puts what it measures into `store`.
    pub fn new(reader: Reader, hypervisor: Arc<dyn Hypervisor>, store: Arc<SampleStore>) -> Self {
        let guests = GuestCounters { hypervisor, pending: None };
        Self { reader, guests, store, previous: None }
    }

    /// Measures for ever; `interval_changes` tells how often.
    pub async fn run(mut self, mut interval_changes: watch::Receiver<Duration>) {
        loop {
            let every = *interval_changes.borrow_and_update();
            debug!(?every, "sampling");
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => self.measure().await,
                    changed = interval_changes.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                }
            }
        }
    }

    /// Takes one snapshot; from the second on it makes a sample of it and the one before.
    pub async fn measure(&mut self) {
        let before_guests = self.reader.steady();
        let guests = self.guests.read().await;
        let guests_steady = midpoint(before_guests, self.reader.steady());
        let reader = self.reader.clone();
        let Ok(host) = tokio::task::spawn_blocking(move || reader.read()).await else { return };
        let current = Snapshot { guests, guests_steady, ..host };
        if let Some(previous) = &self.previous {
            self.store.push(current.at, samples(previous, &current));
        }
        self.previous = Some(current);
    }
}

fn midpoint(earlier: Duration, later: Duration) -> Duration {
    earlier + later.saturating_sub(earlier) / 2
}

fn samples(previous: &Snapshot, current: &Snapshot) -> Vec<Sample> {
    let at_ms = current.at.as_millis();
    let sample =
        |entity, values| Sample { entity: Some(entity), at_ms, values: encode_values(values) };
    let host = sample(Entity::Host(true), fold::host(previous, current));
    let guests = fold::guests(previous, current)
        .into_iter()
        .map(|(guest, values)| sample(Entity::Guest(guest.to_string()), values));
    std::iter::once(host).chain(guests).collect()
}

fn encode_values(values: Values) -> Vec<Value> {
    values
        .into_iter()
        .map(|(metric, value)| Value { metric: u32::from(metric.code()), value })
        .collect()
}

/// Reads libvirt's counters, never two calls at once: a libvirtd that hangs must not gather
/// waiting calls.
struct GuestCounters {
    hypervisor: Arc<dyn Hypervisor>,
    pending: Option<JoinHandle<Result<Vec<GuestStats>, HypervisorError>>>,
}

impl GuestCounters {
    async fn read(&mut self) -> Vec<GuestStats> {
        // A late answer is thrown away: its counters are of a moment that nobody knows.
        if let Some(late) = self.pending.take().filter(|late| !late.is_finished()) {
            self.pending = Some(late);
            return Vec::new();
        }
        let hypervisor = Arc::clone(&self.hypervisor);
        let mut call = tokio::spawn(async move { hypervisor.stats().await });
        match timeout(STATS_TIMEOUT, &mut call).await {
            Ok(Ok(Ok(stats))) => stats,
            Ok(Ok(Err(error))) => {
                debug!(%error, "no counters of guests");
                Vec::new()
            }
            Ok(Err(_)) => Vec::new(),
            Err(_) => {
                warn!("libvirt has not told the guests' counters for {STATS_TIMEOUT:?}");
                self.pending = Some(call);
                Vec::new()
            }
        }
    }
}
