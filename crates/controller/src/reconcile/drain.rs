//! Empties the hosts that are to be empty.
//!
//! Every turn looks at what is there: guests that may be tried and have no move are planned
//! for together, and their moves wait in the queue with those of everybody else. A guest that
//! shows up later is moved as well. What fails is tried again after a pause, a few times; then
//! the drain says which guest hangs and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use drover_lifecycle::{MigrationEvent, MigrationState};
use drover_model::{GuestId, HostId, OperationId, Timestamp};
use drover_planner::Plan;
use drover_ports::{Clock, History};

use super::Reconcile;
use crate::drain::{
    Attempts, Certificate, MOST_TRIES, attempts, certificate, due, in_words, is_busy, is_touched,
    leaving,
};
use crate::engine::Engine;
use crate::events::{Draft, Events, Severity};
use crate::launch::{LaunchError, Order, hindrance, launch};
use crate::moment::{plan_id, seed};
use crate::picture::look;
use crate::records::{
    Cause, Hanging, MaintenancePhase, MaintenanceRecord, OperationRecord, Records, Tables, Txn,
};

/// Guests for which no place was found are planned for again after so long: loads change, and
/// a search takes a core.
const PLAN_AGAIN: Duration = Duration::from_secs(10);
/// What came of a drain's moves is measured over so long.
pub const MEASURE_OVER: Duration = Duration::from_secs(30);

/// See the module.
pub struct DrainHosts {
    /// Records.
    pub records: Arc<Records>,
    /// Event log.
    pub events: Arc<Events>,
    /// Operations.
    pub engine: Engine,
    /// Metric history.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Of healthy agents.
    pub sample_interval: Duration,
    /// The last search for each host. Lost with the process: then one search is made early.
    pub tried: Mutex<BTreeMap<HostId, Tried>>,
}

/// A search.
#[derive(Debug, Clone)]
pub struct Tried {
    at: Timestamp,
    /// Who did not go.
    stay: BTreeSet<GuestId>,
    /// Others were on their way then.
    touched: bool,
}

#[async_trait]
impl Reconcile for DrainHosts {
    fn name(&self) -> &'static str {
        "drain-hosts"
    }

    async fn reconcile(&self) -> anyhow::Result<()> {
        self.call_off().await;
        let all: Vec<MaintenanceRecord> = self.records.read().maintenance.iter().cloned().collect();
        for record in all {
            self.turn(&record).await?;
        }
        Ok(())
    }
}

impl DrainHosts {
    /// Moves that wait for their turn are not made once their drain has ended, however it did. What
    /// has begun goes on: a guest half sent gains nothing by being sent for nothing.
    async fn call_off(&self) {
        let queued: Vec<OperationId> = {
            let tables = self.records.read();
            let ended = |of: &&OperationRecord| {
                let Cause::Drain { host, .. } = &of.cause else { return false };
                tables.maintenance.get(*host).is_none_or(|drain| of.created < drain.begun)
            };
            let waits =
                |of: &&OperationRecord| matches!(of.migration.state, MigrationState::Admitted);
            let queued = tables.operations.iter().filter(waits).filter(ended);
            queued.map(|of| of.migration.operation).collect()
        };
        for operation in queued {
            self.engine.take(operation, MigrationEvent::CancelRequested).await;
        }
    }

    async fn turn(&self, record: &MaintenanceRecord) -> anyhow::Result<()> {
        let now = self.clock.now();
        let due = due(&self.records.read(), record, now);
        let mut found = BTreeMap::new();
        if !due.is_empty() && self.may_plan(record.host, &due, now) {
            found = self.plan(record, &due, now).await?;
        } else if !due.is_empty() {
            // Nothing has changed: what hung hangs.
            let hung = record.hanging.iter().filter(|one| due.contains(&one.guest));
            found = hung.map(|one| (one.guest, one.why.clone())).collect();
        }
        self.settle(record, &found, now).await
    }

    /// Whether a search may find what the last one did not.
    fn may_plan(&self, host: HostId, due: &[GuestId], now: Timestamp) -> bool {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.get(&host).is_none_or(|last| {
            now.since(last.at) >= PLAN_AGAIN
                || due.iter().any(|guest| !last.stay.contains(guest))
                || (last.touched && !is_touched(&self.records.read(), host))
        })
    }

    /// Plans for these guests and queues their moves. Returns for whom there is no place, and
    /// why.
    async fn plan(
        &self,
        record: &MaintenanceRecord,
        due: &[GuestId],
        now: Timestamp,
    ) -> anyhow::Result<BTreeMap<GuestId, String>> {
        let history = self.history.as_ref();
        let picture = look(&self.records, history, now, self.sample_interval).await?;
        let picture = picture.under(&record.settings).wanted_by(record.initiative);
        let (host, labels) = (record.host, record.to_labels.clone());
        let search = move || certificate(&picture, host, &labels, seed());
        let found = tokio::task::spawn_blocking(search).await??;
        let clear = due.iter().filter(|guest| !found.unclear.contains(guest));
        let mut without: BTreeMap<GuestId, String> =
            clear.filter_map(|guest| Some((*guest, in_words(found.blocked.get(guest)?)))).collect();
        let (first, hindered) = only(&self.records.read(), &found, record, due);
        without.extend(hindered);
        let goes = |guest: &&GuestId| first.moves().any(|step| step.step.guest == **guest);
        let stay = due.iter().filter(|guest| !goes(guest)).copied().collect();
        let touched = is_touched(&self.records.read(), host);
        let last = Tried { at: now, stay, touched };
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).insert(host, last);
        if first.is_empty() {
            return Ok(without);
        }
        let order = order(&self.records.read(), record, first, found);
        match launch(&self.records, &self.engine, order, plan_id(), now, false).await {
            Ok(_) => {}
            Err(LaunchError::Overtaken(reason)) => {
                tracing::debug!(reason, "a drain's plan was overtaken; the next turn plans anew");
            }
            Err(error @ LaunchError::Record(_)) => return Err(error.into()),
        }
        Ok(without)
    }

    /// Stores and tells what has become of the drain.
    async fn settle(
        &self,
        record: &MaintenanceRecord,
        found: &BTreeMap<GuestId, String>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let changed = self
            .records
            .update(|tables| {
                let mut txn = Txn::none();
                let Some(before) = tables.maintenance.get(record.host) else {
                    return (txn, None);
                };
                if before.begun != record.begun {
                    return (txn, None);
                }
                let after = judged(tables, before, found, now);
                let changed = (after != *before).then(|| (before.clone(), after.clone()));
                if changed.is_some() {
                    txn.change(before, after);
                }
                (txn, changed)
            })
            .await?;
        if let Some((before, after)) = changed {
            let drafts = story(&self.records.read(), &before, &after);
            for draft in drafts {
                self.events.record(draft).await;
            }
        }
        Ok(())
    }
}

/// The moves of a certificate that are to be made now: the first batch, for these guests and
/// for those elsewhere that make room. One that something stands in the way of does not hold
/// up the others: it is told why.
fn only(
    tables: &Tables,
    found: &Certificate,
    record: &MaintenanceRecord,
    due: &[GuestId],
) -> (Plan, BTreeMap<GuestId, String>) {
    let first = found.plan.batches.first().into_iter().flatten();
    let wanted =
        first.filter(|step| step.step.from != record.host || due.contains(&step.step.guest));
    let mut batch = Vec::new();
    let mut hindered = BTreeMap::new();
    for step in wanted {
        match hindrance(tables, &step.step, &record.settings) {
            None => batch.push(step.clone()),
            Some(reason) => {
                hindered.insert(step.step.guest, reason);
            }
        }
    }
    let batches = if batch.is_empty() { Vec::new() } else { vec![batch] };
    (Plan { batches }, hindered)
}

/// The order for moves of a drain.
pub fn order(tables: &Tables, record: &MaintenanceRecord, plan: Plan, found: Certificate) -> Order {
    let name = tables.host_name(record.host);
    Order {
        plan,
        report: found.report,
        cause: Cause::Drain { host: record.host, name },
        settings: record.settings.clone(),
        measure_over: MEASURE_OVER,
        cleared: Vec::new(),
    }
}

/// The record as it is to be, by what is there and by what a search has `found`.
fn judged(
    tables: &Tables,
    before: &MaintenanceRecord,
    found: &BTreeMap<GuestId, String>,
    now: Timestamp,
) -> MaintenanceRecord {
    let mut after = before.clone();
    let left = leaving(tables, before.host);
    let touched = is_touched(tables, before.host);
    let known = |guest: GuestId| {
        let one = before.hanging.iter().find(|one| one.guest == guest)?;
        Some(one.why.clone())
    };
    after.hanging = left
        .iter()
        .filter(|guest| !is_busy(tables, **guest))
        .filter_map(|guest| {
            let tried = attempts(tables, before, *guest);
            let failures = tried.as_ref().map_or(0, |tried| tried.failures);
            let given_up = tried.filter(Attempts::are_over);
            let why = match given_up {
                Some(tried) => format!("its move failed {MOST_TRIES} times, last: {}", tried.why),
                // While others are on their way room may still become free.
                None if touched => known(*guest)?,
                None => found.get(guest)?.clone(),
            };
            Some(Hanging { guest: *guest, why, failures })
        })
        .collect();
    if left.is_empty() && !touched {
        after.phase = MaintenancePhase::Drained;
        after.drained = before.drained.or(Some(now));
    } else if !left.is_empty() {
        after.phase = MaintenancePhase::Draining;
        after.drained = None;
    }
    after
}

fn story(tables: &Tables, before: &MaintenanceRecord, after: &MaintenanceRecord) -> Vec<Draft> {
    use MaintenancePhase as P;
    let host = tables.host_name(after.host);
    let mut drafts = Vec::new();
    match (before.phase, after.phase) {
        (P::Draining, P::Drained) => {
            let seconds = after.drained.map_or(0, |at| at.since(after.begun).as_secs());
            let text = format!("{host} is drained, {seconds} s after it was asked for");
            drafts.push(Draft::new("host.drained", Severity::Info, text).host(host.clone()));
        }
        (P::Drained, P::Draining) => {
            let text = format!("guests are on {host} again, which is to be empty: they leave");
            drafts.push(Draft::new("host.draining", Severity::Warning, text).host(host.clone()));
        }
        _ => {}
    }
    let known = |one: &Hanging| before.hanging.iter().any(|other| other.guest == one.guest);
    for one in after.hanging.iter().filter(|one| !known(one)) {
        let guest = tables.guest_name(one.guest);
        let text = format!("{guest} does not get away from {host}: {}", one.why);
        let draft = Draft::new("drain.hangs", Severity::Warning, text).host(host.clone());
        drafts.push(draft.guest(guest).with("failures", one.failures));
    }
    drafts
}
