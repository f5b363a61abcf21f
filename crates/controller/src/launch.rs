//! Turns a plan's first batch into operations: one commit, then they begin.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_lifecycle::{Migration, MigrationEvent};
use drover_model::{MigrationMode, MigrationSettings, OwnerPhase, PlanId, Timestamp};
use drover_planner::{Plan, PlanReport, PlannedMove};

use crate::engine::Engine;
use crate::moment::operation_id;
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
}

/// Stores the plan and its first batch, then begins each move. With `dry_run` the plan is
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
                txn.put(record.clone());
                for operation in operations {
                    txn.put(operation);
                }
                (txn, Ok(record))
            }
            Err(reason) => (Txn::none(), Err(LaunchError::Overtaken(reason))),
        })
        .await??;
    for operation in &stored.operations {
        engine.take(*operation, MigrationEvent::Begin).await;
    }
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

/// Begins the next batch of a plan that is being carried out.
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
        settings: MigrationSettings::default(),
        measure_over: plan
            .measure
            .as_ref()
            .map_or(Duration::ZERO, |measure| Duration::from_millis(measure.period_ms)),
    };
    let begun = records
        .update(|tables| {
            let operations: Result<Vec<OperationRecord>, String> =
                batch.iter().map(|step| operation(tables, &order, plan.id, now, step)).collect();
            let operations = match operations {
                Ok(operations) => operations,
                Err(reason) => return (Txn::none(), Err(LaunchError::Overtaken(reason))),
            };
            let mut txn = Txn::none();
            let ids: Vec<_> = operations.iter().map(|op| op.migration.operation).collect();
            let mut record = plan.clone();
            record.operations.extend(&ids);
            record.measure = measure(&order, batch, now);
            txn.put(record);
            for operation in operations {
                txn.put(operation);
            }
            (txn, Ok(ids))
        })
        .await??;
    for operation in begun {
        engine.take(operation, MigrationEvent::Begin).await;
    }
    Ok(())
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
        operations: operations.iter().map(|op| op.migration.operation).collect(),
        measure: first.and_then(|batch| measure(order, batch, now)),
    };
    Ok((record, operations))
}

/// One plan at a time over the whole cluster; a guest that somebody moves by hand is no plan
/// in this sense. Reconcilers look before they plan; here the last word is said.
fn alone(tables: &Tables, order: &Order, id: PlanId) -> Result<(), String> {
    let known = tables.plans.get(id);
    if let Some(done) = known.filter(|plan| plan.state != PlanState::Proposed) {
        return Err(format!("the plan is {} already", done.state.as_str()));
    }
    let by_hand = matches!(order.cause, Cause::Request { .. }) && known.is_none();
    let mut others = tables.plans.iter().rev();
    match others.find(|plan| plan.state == PlanState::Running) {
        Some(other) if !by_hand => Err(format!("the plan of {} is being carried out", other.cause)),
        _ => Ok(()),
    }
}

fn operation(
    tables: &Tables,
    order: &Order,
    plan: PlanId,
    now: Timestamp,
    step: &PlannedMove,
) -> Result<OperationRecord, String> {
    let guest = step.step.guest;
    let owner = tables.owners.get(guest).ok_or_else(|| format!("guest {guest} has no owner"))?;
    if owner.host != step.step.from || owner.phase != OwnerPhase::Settled {
        return Err(format!("guest {guest} is not settled on the host that the plan saw it on"));
    }
    let busy = tables
        .operations
        .iter()
        .any(|op| op.migration.guest == guest && !op.migration.state.is_finished());
    if busy {
        return Err(format!("an operation is under way for guest {guest}"));
    }
    let unclean = tables.operations.iter().any(|op| {
        op.migration.guest == guest
            && op.migration.to == step.step.to
            && op.migration.target_unclean
    });
    if unclean {
        return Err(format!(
            "the target may still hold a copy of guest {guest} from an earlier move; it is \
             discarded as soon as the host answers"
        ));
    }
    let remains = tables.operations.iter().any(|op| {
        op.migration.guest == guest
            && op.migration.from == step.step.to
            && op.migration.source_unclean
    });
    if remains {
        return Err(format!(
            "the target still has a definition or disks of guest {guest} from before it left; \
             they are removed as soon as the host answers"
        ));
    }
    let settings = with_tls(tables, step, &order.settings)?;
    let migration = Migration::new(operation_id(), *owner, step.step.to, settings);
    Ok(OperationRecord {
        timeline: vec![(migration.state.as_str().to_owned(), now)],
        migration,
        cause: order.cause.clone(),
        plan,
        created: now,
    })
}

/// Decides whether a move is encrypted, where that was left open.
fn with_tls(
    tables: &Tables,
    step: &PlannedMove,
    settings: &MigrationSettings,
) -> Result<MigrationSettings, String> {
    let ready = |host| tables.hosts.get(host).is_some_and(|r| r.host.capabilities.migration_tls);
    let unready: Vec<_> =
        [step.step.from, step.step.to].into_iter().filter(|host| !ready(*host)).collect();
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
    let metric = batch.first()?.metric;
    let mut expected = BTreeMap::new();
    for step in batch {
        expected.insert(step.step.from, step.from.1);
        expected.insert(step.step.to, step.to.1);
    }
    let period_ms = u64::try_from(order.measure_over.as_millis()).unwrap_or(u64::MAX);
    Some(Measure { due: now, metric, period_ms, expected })
}
