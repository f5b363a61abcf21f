//! The event log: what was seen, decided and done, in order, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drover_api::v1::{Event, EventQuery, Watch};
use drover_model::{OperationId, PlanId};
use drover_ports::{Change, Clock, Expected, Store, StoreError};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::moment::rfc3339;

/// Events that are kept. At 500 bytes each, 50 MB.
pub const MAX_EVENTS: u64 = 100_000;
/// Messages that a slow watcher may be behind before it is told that it lost some.
const WATCH_BACKLOG: usize = 4096;
/// Events that one query looks at.
const QUERY_WINDOW: usize = 20_000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As expected.
    Info,
    /// An operator may want to look.
    Warning,
    /// An operator has to look.
    Error,
}

/// An event to be recorded.
#[derive(Debug, Clone)]
pub struct Draft(Event);

impl Draft {
    /// A new event of this kind with one sentence.
    pub fn new(kind: &str, severity: Severity, message: impl Into<String>) -> Self {
        let severity = match severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        Self(Event {
            sequence: 0,
            at: String::new(),
            kind: kind.to_owned(),
            severity: severity.to_owned(),
            message: message.into(),
            host: None,
            guest: None,
            rule: None,
            operation: None,
            plan: None,
            detail: Map::new(),
        })
    }

    /// Another sentence.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// What sort of event it is.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// About this host.
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.0.host = Some(name.into());
        self
    }

    /// About this guest.
    #[must_use]
    pub fn guest(mut self, name: impl Into<String>) -> Self {
        self.0.guest = Some(name.into());
        self
    }

    /// About this rule.
    #[must_use]
    pub fn rule(mut self, name: impl Into<String>) -> Self {
        self.0.rule = Some(name.into());
        self
    }

    /// About this operation.
    #[must_use]
    pub fn operation(mut self, id: OperationId) -> Self {
        self.0.operation = Some(id.to_string());
        self
    }

    /// About this plan.
    #[must_use]
    pub fn plan(mut self, id: PlanId) -> Self {
        self.0.plan = Some(id.to_string());
        self
    }

    /// A number or text by name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.detail.insert(name.to_owned(), value.into());
        self
    }
}

/// Records and publishes.
pub struct Events {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    next: AtomicU64,
    bus: broadcast::Sender<Watch>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Events {
    /// Goes on after the last event in the store.
    pub async fn load(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let last = store.list_last("event/", 1).await?;
        let next = last
            .first()
            .and_then(|(key, _)| key.strip_prefix("event/")?.parse::<u64>().ok())
            .map_or(1, |sequence| sequence + 1);
        let (bus, _) = broadcast::channel(WATCH_BACKLOG);
        Ok(Self { store, clock, next: AtomicU64::new(next), bus })
    }

    /// Records an event. A store that does not take it is reported in the log; decisions
    /// never wait for their story.
    pub async fn record(&self, draft: Draft) {
        let sequence = self.next.fetch_add(1, Ordering::SeqCst);
        let event = Event { sequence, at: rfc3339(self.clock.now()), ..draft.0 };
        tracing::info!(kind = %event.kind, "{}", event.message);
        let bytes = serde_json::to_vec(&event).unwrap_or_default();
        let change = Change::put(format!("event/{sequence:020}"), Expected::Absent, bytes);
        if let Err(error) = self.store.commit(vec![change]).await {
            tracing::error!(%error, sequence, "an event could not be stored");
        }
        self.publish(Watch::Event(event));
    }

    /// Publishes without recording: samples and progress.
    pub fn publish(&self, message: Watch) {
        // Nobody watching is no error.
        let _ = self.bus.send(message);
    }

    /// Whether anybody watches: spares making messages for nobody.
    pub fn is_watched(&self) -> bool {
        self.bus.receiver_count() > 0
    }

    /// Everything that is published from now on.
    pub fn watch(&self) -> broadcast::Receiver<Watch> {
        self.bus.subscribe()
    }

    /// Events that match, the oldest first. `names` are the names that the query's host,
    /// guest and rule stand for.
    pub async fn query(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let limit = query.limit.unwrap_or(100).clamp(1, 1000);
        let rows = self.store.list_last("event/", QUERY_WINDOW).await?;
        let mut found: Vec<Event> = rows
            .iter()
            .filter_map(|(_, row)| serde_json::from_slice::<Event>(&row.value).ok())
            .take_while(|event| query.after.is_none_or(|after| event.sequence > after))
            .filter(|event| matches(event, query))
            .take(limit)
            .collect();
        found.reverse();
        Ok(found)
    }

    /// Drops events beyond [`MAX_EVENTS`], at most a commit's worth at a time.
    pub async fn prune(&self) -> Result<(), StoreError> {
        let Some(oldest) = self.next.load(Ordering::SeqCst).checked_sub(MAX_EVENTS) else {
            return Ok(());
        };
        let doomed: Vec<Change> = self
            .store
            .list("event/")
            .await?
            .into_iter()
            .take_while(|(key, _)| *key < format!("event/{oldest:020}"))
            .take(drover_ports::MAX_CHANGES)
            .map(|(key, _)| Change::delete(key, Expected::Any))
            .collect();
        if !doomed.is_empty() {
            self.store.commit(doomed).await?;
        }
        Ok(())
    }
}

fn matches(event: &Event, query: &EventQuery) -> bool {
    let about =
        |wanted: &Option<String>, field: &Option<String>| wanted.is_none() || wanted == field;
    about(&query.host, &event.host)
        && about(&query.guest, &event.guest)
        && about(&query.rule, &event.rule)
        && about(&query.operation, &event.operation)
}
