//! Turns a plan's first batch into operations: one commit, then they begin.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_lifecycle::Migration;
use drover_model::{MigrationMode, MigrationSettings, OwnerPhase, PlanId, PostCopy, Timestamp};
use drover_planner::{Plan, PlanReport, PlannedMove};
use drover_rules::{Move, protection, recovers_post_copy};

use crate::admission::copies;
use crate::engine::Engine;
use crate::moment::operation_id;
use crate::notes::as_note;
use crate::preflight::Cleared;
use crate::reconcile::rules::running_plan;
use crate::records::{
    Cause, Measure, OperationRecord, PlanRecord, PlanState, RecordError, Records, Tables, Txn,
};

/// Why a plan does not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A guest of it is not where the plan saw it, or something is under way for it.
    #[error("{0}")]
    Overtaken(String),
    /// Not stored.
    #[error("the plan is not stored")]
    Record(#[from] RecordError),
}

/// What a plan is for.
#[derive(Debug, Clone)]
pub struct Order {
    /// The plan.
    pub plan: Plan,
    /// Its report.
    pub report: PlanReport,
    /// Why.
    pub cause: Cause,
    /// How each guest is moved.
    pub settings: MigrationSettings,
    /// Window over which the outcome is measured afterwards.
    pub measure_over: Duration,
    /// Moves that were looked at a moment ago, with what was found: they are not looked at
    /// again.
    pub cleared: Vec<Cleared>,
}

/// Moves of one batch, at most: they are stored in one commit with their plan.
pub const MOST_IN_A_BATCH: usize = drover_ports::MAX_CHANGES - 8;

/// Stores the plan and its first batch, then lets the queue begin the moves. With `dry_run` the plan is
/// stored as proposed and nothing begins.
pub async fn launch(
    records: &Records,
    engine: &Engine,
    order: Order,
    id: PlanId,
    now: Timestamp,
    dry_run: bool,
) -> Result<PlanRecord, LaunchError> {
    let stored = records
        .update(|tables| match prepare(tables, &order, id, now, dry_run) {
            Ok((record, operations)) => {
                let mut txn = Txn::none();
                txn.change(tables.plans.get(id), record.clone());
                for operation in operations {
                    txn.add(operation);
                }
                (txn, Ok(record))
            }
            Err(reason) => (Txn::none(), Err(LaunchError::Overtaken(reason))),
        })
        .await??;
    {
        let tables = records.read();
        for record in stored.operations.iter().filter_map(|id| tables.operations.get(*id)) {
            if cleared(&order, &record.migration).is_some() {
                engine.live.looks_clear(record.migration.operation, now);
            }
        }
    }
    engine.begin_admitted().await;
    Ok(stored)
}

/// How many batches of a plan have begun.
pub fn begun(plan: &PlanRecord) -> usize {
    let mut moves = 0;
    let whole = |batch: &&Vec<PlannedMove>| {
        moves += batch.len();
        moves <= plan.operations.len()
    };
    plan.plan.batches.iter().take_while(whole).count()
}

/// Begins the next batch of a plan that is being carried out, if it is still as it was read.
pub async fn go_on(
    records: &Records,
    engine: &Engine,
    plan: &PlanRecord,
    now: Timestamp,
) -> Result<(), LaunchError> {
    let Some(batch) = plan.plan.batches.get(begun(plan)) else { return Ok(()) };
    let order = Order {
        plan: plan.plan.clone(),
        report: plan.report.clone(),
        cause: plan.cause.clone(),
        settings: plan.settings.clone(),
        measure_over: plan
            .measure
            .as_ref()
            .map_or(Duration::ZERO, |measure| Duration::from_millis(measure.period_ms)),
        cleared: Vec::new(),
    };
    records
        .update(|tables| {
            let Some(before) = tables.plans.get(plan.id).filter(|now| is_as_read(now, plan)) else {
                return (Txn::none(), Ok(()));
            };
            let operations: Result<Vec<OperationRecord>, String> =
                batch.iter().map(|step| operation(tables, &order, plan.id, now, step)).collect();
            let operations = match operations {
                Ok(operations) => operations,
                Err(reason) => return (Txn::none(), Err(LaunchError::Overtaken(reason))),
            };
            let mut txn = Txn::none();
            let mut record = before.clone();
            record.operations.extend(operations.iter().map(|op| op.migration.operation));
            record.measure = measure(&order, batch, now);
            txn.change(before, record);
            for operation in operations {
                txn.add(operation);
            }
            (txn, Ok(()))
        })
        .await??;
    engine.begin_admitted().await;
    Ok(())
}

/// Whether nobody has closed, stopped or advanced a plan since it was read.
pub fn is_as_read(now: &PlanRecord, read: &PlanRecord) -> bool {
    now.state == read.state && now.operations == read.operations
}

fn prepare(
    tables: &Tables,
    order: &Order,
    id: PlanId,
    now: Timestamp,
    dry_run: bool,
) -> Result<(PlanRecord, Vec<OperationRecord>), String> {
    if !dry_run {
        alone(tables, order, id)?;
    }
    let first = order.plan.batches.first().filter(|_| !dry_run);
    let operations: Vec<OperationRecord> = first
        .into_iter()
        .flatten()
        .map(|step| operation(tables, order, id, now, step))
        .collect::<Result<_, _>>()?;
    let state = if dry_run { PlanState::Proposed } else { PlanState::Running };
    let record = PlanRecord {
        id,
        at: now,
        cause: order.cause.clone(),
        state,
        plan: order.plan.clone(),
        report: order.report.clone(),
        settings: order.settings.clone(),
        operations: operations.iter().map(|op| op.migration.operation).collect(),
        measure: first.and_then(|batch| measure(order, batch, now)),
    };
    Ok((record, operations))
}

/// What was found of a move that was looked at a moment ago.
fn cleared<'o>(order: &'o Order, migration: &Migration) -> Option<&'o Cleared> {
    let pair = (migration.guest, migration.to);
    order.cleared.iter().find(|one| (one.guest, one.to) == pair)
}

/// One plan at a time over the whole cluster; a guest that somebody moves by hand is no plan
/// in this sense, nor is the drain of a host: it takes long, and what its moves take of their
/// targets is booked from the start. Reconcilers look before they plan; here the last word is said.
fn alone(tables: &Tables, order: &Order, id: PlanId) -> Result<(), String> {
    let known = tables.plans.get(id);
    if let Some(done) = known.filter(|plan| plan.state != PlanState::Proposed) {
        return Err(format!("the plan is {} already", done.state.as_str()));
    }
    let by_hand = matches!(order.cause, Cause::Request { .. } | Cause::Drain { .. });
    let by_hand = by_hand && known.is_none();
    match running_plan(tables) {
        Some(other) if !by_hand => Err(format!("the plan of {} is being carried out", other.cause)),
        _ => Ok(()),
    }
}

/// Why a move cannot be an operation now, whatever the planner thinks of it.
pub fn hindrance(tables: &Tables, step: &Move, settings: &MigrationSettings) -> Option<String> {
    let guest = step.guest;
    let Some(owner) = tables.owners.get(guest) else {
        return Some(format!("guest {guest} has no owner"));
    };
    if owner.host != step.from || owner.phase != OwnerPhase::Settled {
        return Some(format!("guest {guest} is not settled on the host that the plan saw it on"));
    }
    let of_guest = || tables.operations.iter().filter(|op| op.migration.guest == guest);
    if of_guest().any(|op| !op.migration.state.is_finished()) {
        return Some(format!("an operation is under way for guest {guest}"));
    }
    if of_guest().any(|op| op.migration.to == step.to && op.migration.target_unclean) {
        return Some(format!(
            "the target may still hold a copy of guest {guest} from an earlier move; it is \
             discarded as soon as the host answers"
        ));
    }
    if of_guest().any(|op| op.migration.from == step.to && op.migration.source_unclean) {
        return Some(format!(
            "the target still has a definition or disks of guest {guest} from before it left; \
             they are removed as soon as the host answers"
        ));
    }
    let asks_for_post_copy = settings.post_copy != PostCopy::Never && !settings.by_policy;
    if let Some(reason) = unprotected(tables, step).filter(|_| asks_for_post_copy) {
        return Some(reason);
    }
    copies(tables, guest, settings).err().or_else(|| with_tls(tables, step, settings).err())
}

fn operation(
    tables: &Tables,
    order: &Order,
    plan: PlanId,
    now: Timestamp,
    step: &PlannedMove,
) -> Result<OperationRecord, String> {
    let guest = step.step.guest;
    if let Some(reason) = hindrance(tables, &step.step, &order.settings) {
        return Err(reason);
    }
    let owner = tables.owners.get(guest).ok_or_else(|| format!("guest {guest} has no owner"))?;
    let settings = with_tls(tables, &step.step, &settings(tables, order, &step.step))?;
    let disks = copies(tables, guest, &settings)?;
    let migration =
        Migration { disks, ..Migration::new(operation_id(), *owner, step.step.to, settings) };
    let warnings = cleared(order, &migration).map_or(&[][..], |one| &one.warnings);
    Ok(OperationRecord {
        timeline: vec![(migration.state.as_str().to_owned(), now)],
        notes: warnings.iter().map(|warning| (now, as_note(warning))).collect(),
        migration,
        cause: order.cause.clone(),
        plan,
        created: now,
        forecast: None,
    })
}

/// Moves that nobody asked for in detail are done as their guests' policies say.
fn settings(tables: &Tables, order: &Order, step: &Move) -> MigrationSettings {
    let policy = crate::guest_policy::of(tables, step.guest);
    // One guest's request that it forbids is refused before; of several, each keeps to its own.
    let mut settings = policy.clamp(order.settings.clone());
    if settings.by_policy {
        settings = policy.fill(settings, false);
        // What a person asks for is done, with a warning.
        let is_asked_for = order.settings.post_copy != PostCopy::Never;
        let is_safe =
            unprotected(tables, step).is_none() && (is_asked_for || is_recoverable(tables, step));
        if settings.post_copy == PostCopy::Allow && !is_safe {
            settings.post_copy = PostCopy::Never;
        }
    }
    MigrationSettings { by_policy: false, ..settings }
}

/// Whether a transfer that breaks after the switch to post-copy can be gone on with.
fn is_recoverable(tables: &Tables, step: &Move) -> bool {
    let libvirt = |host| {
        tables.hosts.get(host).map_or("", |record| record.host.capabilities.libvirt.as_str())
    };
    recovers_post_copy(libvirt(step.from), libvirt(step.to))
}

/// Under post-copy libvirt lets the target run before the source is gone, so something else
/// must keep a second copy from the disks (docs/decisions/0008).
pub fn unprotected(tables: &Tables, step: &Move) -> Option<String> {
    let guest = &tables.guests.get(step.guest)?.guest;
    let hosts = [step.from, step.to].into_iter().filter_map(|host| tables.hosts.get(host));
    let disks = protection(guest, hosts.map(|record| &record.host));
    let bare = disks.into_iter().find(|disk| !disk.protection.is_safe())?;
    Some(format!(
        "post-copy needs disks that only one copy can write to, and {} is not protected: {}; \
         give the guest a lease (docs/guide/storage.md), or move it without post-copy",
        bare.target, bare.reason
    ))
}

/// Decides whether a move is encrypted, where that was left open.
fn with_tls(
    tables: &Tables,
    step: &Move,
    settings: &MigrationSettings,
) -> Result<MigrationSettings, String> {
    let ready = |host| tables.hosts.get(host).is_some_and(|r| r.host.capabilities.migration_tls);
    let unready: Vec<_> = [step.from, step.to].into_iter().filter(|host| !ready(*host)).collect();
    let sends_memory = settings.mode == MigrationMode::Live;
    if settings.tls == Some(true) && sends_memory && !unready.is_empty() {
        let names: Vec<_> = unready.iter().map(|host| tables.host_name(*host)).collect();
        return Err(format!(
            "{} has no certificates for QEMU in /etc/pki/qemu, so nothing can be encrypted; \
             `drover-agent join --libvirt-pki` writes them",
            names.join(" and ")
        ));
    }
    let tls = settings.tls.unwrap_or(unready.is_empty());
    Ok(MigrationSettings { tls: Some(tls && sends_memory), ..settings.clone() })
}

fn measure(order: &Order, batch: &[PlannedMove], now: Timestamp) -> Option<Measure> {
    // A guest that does not run loads nothing that could be measured.
    if order.settings.mode != MigrationMode::Live {
        return None;
    }
    let metric = batch.first()?.metric;
    let mut expected = BTreeMap::new();
    // A move to a host that does not measure the metric was reckoned in another.
    for step in batch.iter().filter(|step| step.metric == metric) {
        expected.insert(step.step.from, step.from.1);
        expected.insert(step.step.to, step.to.1);
    }
    let period_ms = u64::try_from(order.measure_over.as_millis()).unwrap_or(u64::MAX);
    Some(Measure { due: now, metric, period_ms, expected })
}
