//! Operations: takes events, stores the next state, then asks agents for its effects.
//!
//! The order is the safety: the state and the owner record are durable before any agent
//! hears of them. Everything here may run again after a crash: [`Engine::say_again`]
//! repeats what each unfinished operation's state asks for.

use std::sync::Arc;

use drover_agent_api::v1::{
    AcceptIncoming, CancelMigration, Command, DefineIncoming, DiscardIncoming, FromController,
    RemoveDeparted, Resume, StartGuest, StartMigration, command, from_controller,
};
use drover_lifecycle::{
    Effect, Failure, FailureKind, Migration, MigrationEvent, MigrationState, answer,
};
use drover_model::{HostId, HostState, MigrationMode, MigrationOutcome, OperationId, OwnerPhase};
use drover_ports::Clock;

use crate::continuity::{blackout, is_probed, known_nics};
use crate::events::{Draft, Events, Severity};
use crate::live::Live;
use crate::records::{
    Cause, DefinitionRecord, HostRecord, OperationRecord, RecordError, Records, Tables, Txn,
};

/// Times that a step is tried again when someone else changed the store meanwhile.
const STEP_TRIES: usize = 3;

/// Moves operations forward.
#[derive(Clone)]
pub struct Engine {
    pub(crate) records: Arc<Records>,
    pub(crate) live: Arc<Live>,
    events: Arc<Events>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// What one step did.
struct Applied {
    before: OperationRecord,
    after: OperationRecord,
    effects: Vec<Effect>,
}

impl Engine {
    /// An engine over these parts.
    pub fn new(
        records: Arc<Records>,
        live: Arc<Live>,
        events: Arc<Events>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { records, live, events, clock }
    }

    pub(crate) fn now(&self) -> drover_model::Timestamp {
        self.clock.now()
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Takes one event of one operation. Unknown operations and events that mean nothing
    /// in the present state are ignored: they are repeats.
    pub async fn take(&self, operation: OperationId, event: MigrationEvent) {
        if let MigrationEvent::Progress(progress) = event {
            self.live.progressed(operation, progress);
            // Stored only where it is news: it goes on.
            if !self.stands_still(operation) {
                return;
            }
        }
        for _ in 0..STEP_TRIES {
            match self.apply(operation, &event).await {
                Ok(Some(applied)) => {
                    for effect in &applied.effects {
                        self.ask(&applied.after, *effect);
                    }
                    self.tell(&applied, &event).await;
                    if applied.after.migration.state.is_finished() {
                        self.begin_admitted().await;
                    }
                    return;
                }
                Ok(None) => return,
                Err(error) if error.is_overtaken() => {}
                Err(error) => {
                    tracing::error!(%operation, ?event, %error, "a step could not be stored");
                    return;
                }
            }
        }
        tracing::error!(%operation, ?event, "a step was overtaken {STEP_TRIES} times");
    }

    /// Whether it broke after the switch to post-copy.
    fn stands_still(&self, operation: OperationId) -> bool {
        let tables = self.records.read();
        tables.operations.get(operation).is_some_and(|found| found.migration.trouble().is_some())
    }

    /// Repeats what the state of each unfinished operation asks of `host`, or of any host.
    pub fn say_again(&self, host: Option<HostId>) {
        let unfinished: Vec<OperationRecord> = self
            .records
            .read()
            .operations
            .iter()
            .filter(|operation| !operation.migration.effects_again().is_empty())
            .cloned()
            .collect();
        for operation in unfinished {
            for effect in operation.migration.effects_again() {
                if host.is_none_or(|host| operation.migration.host_of(effect) == host) {
                    self.ask(&operation, effect);
                }
            }
        }
    }

    /// Lets operations go on without targets that are unreachable.
    pub async fn leave_unreachable_targets(&self) {
        let waiting: Vec<OperationId> = {
            let tables = self.records.read();
            let unreachable = |operation: &&OperationRecord| {
                let target = tables.hosts.get(operation.migration.to);
                target.is_some_and(|record| record.host.state == HostState::Unreachable)
            };
            let waits = |operation: &&OperationRecord| {
                use MigrationState as S;
                matches!(
                    operation.migration.state,
                    S::Offering | S::Defining { .. } | S::CleaningUp { .. }
                )
            };
            let all = tables.operations.iter().filter(waits).filter(unreachable);
            all.map(|operation| operation.migration.operation).collect()
        };
        for operation in waiting {
            self.take(operation, MigrationEvent::TargetUnreachable).await;
        }
    }

    /// The answer of an agent to a command of ours.
    pub async fn answered(&self, operation: OperationId, effect: Effect, failure: Option<Failure>) {
        if let Some(event) = answer(effect, failure) {
            self.take(operation, event).await;
        }
    }

    async fn apply(
        &self,
        operation: OperationId,
        event: &MigrationEvent,
    ) -> Result<Option<Applied>, RecordError> {
        let now = self.clock.now();
        self.records
            .update(|tables| {
                let Some(before) = tables.operations.get(operation) else {
                    return (Txn::none(), None);
                };
                let Ok(stepped) = before.migration.step(event) else {
                    return (Txn::none(), None);
                };
                let begins = *event == MigrationEvent::Begin;
                if begins && !crate::queue::may_begin(tables, &self.live, now, operation) {
                    return (Txn::none(), None);
                }
                let mut txn = Txn::none();
                if let Some(change) = stepped.owner {
                    let owner = tables.owners.get(change.record.guest);
                    let Some(owner) = owner.filter(|owner| owner.epoch == change.expected) else {
                        tracing::error!(%operation, "the owner was changed by another hand");
                        return (Txn::none(), None);
                    };
                    txn.change(owner, change.record);
                }
                let mut after = OperationRecord { migration: stepped.migration, ..before.clone() };
                if after.migration.state.as_str() != before.migration.state.as_str() {
                    after.timeline.push((after.migration.state.as_str().to_owned(), now));
                }
                let was = &before.migration.state;
                let idle = was.is_finished() || matches!(was, MigrationState::Admitted);
                if after.migration.state.is_finished() && !idle {
                    settle(tables, &mut txn, &after, now);
                }
                if let (MigrationState::Defining { copied }, false) = (
                    &before.migration.state,
                    matches!(after.migration.state, MigrationState::CleaningUp { .. }),
                ) {
                    // As it is at the target: the host told it while it was not the owner.
                    txn.replace(DefinitionRecord {
                        guest: after.migration.guest,
                        xml: copied.definition.clone(),
                        at: now,
                    });
                }
                if after != *before {
                    txn.change(before, after.clone());
                }
                let applied = Applied { before: before.clone(), after, effects: stepped.effects };
                (txn, Some(applied))
            })
            .await
    }

    /// Asks an agent. When it is not connected nothing is lost: its next session begins
    /// with [`Engine::say_again`].
    fn ask(&self, operation: &OperationRecord, effect: Effect) {
        let host = operation.migration.host_of(effect);
        let Some(command) = self.command(operation, effect) else { return };
        let message = FromController { body: Some(from_controller::Body::Command(command)) };
        if !self.live.send(host, message) {
            tracing::debug!(%host, ?effect, "the agent is not connected; asked again later");
        }
    }

    fn command(&self, operation: &OperationRecord, effect: Effect) -> Option<Command> {
        use command::Action;
        let migration = &operation.migration;
        let action = match effect {
            Effect::AcceptIncoming => {
                let tables = self.records.read();
                Action::AcceptIncoming(AcceptIncoming {
                    source_host_id: migration.from.to_string(),
                    nics: known_nics(&tables, migration.guest),
                    probe: is_probed(&tables, migration),
                    disks_json: serde_json::to_vec(&migration.disks).ok()?,
                    cold: migration.settings.mode == MigrationMode::Cold,
                })
            }
            Effect::StartMigration => {
                let tables = self.records.read();
                let target = &tables.hosts.get(migration.to)?.host;
                Action::StartMigration(StartMigration {
                    target_host_id: migration.to.to_string(),
                    peer_uri: target.peer_uri.clone(),
                    migration_address: target.migration_address.clone(),
                    settings_json: serde_json::to_vec(&migration.settings).ok()?,
                    post_copy: migration.is_post_copy(),
                    disks_json: serde_json::to_vec(&migration.disks).ok()?,
                })
            }
            Effect::CancelMigration => Action::CancelMigration(CancelMigration {}),
            Effect::ResumeAtTarget | Effect::ResumeAtSource => {
                Action::Resume(Resume { nics: known_nics(&self.records.read(), migration.guest) })
            }
            Effect::DiscardAtTarget => Action::DiscardIncoming(DiscardIncoming {
                keep_disks: migration.settings.keep_target_on_failure,
                may_have_run: migration.may_have_run_there(),
            }),
            Effect::DefineAtTarget => {
                let MigrationState::Defining { copied } = &migration.state else { return None };
                let copied_json = serde_json::to_vec(copied).ok()?;
                Action::DefineIncoming(DefineIncoming { copied_json })
            }
            Effect::StartAtTarget => {
                Action::StartGuest(StartGuest { definition: self.definition_to_start(migration)? })
            }
            Effect::RemoveAtSource => Action::RemoveDeparted(RemoveDeparted {
                disks_json: serde_json::to_vec(&migration.disks).ok()?,
            }),
        };
        Some(Command {
            command_id: command_id(effect).to_owned(),
            operation_id: migration.operation.to_string(),
            guest_id: migration.guest.to_string(),
            epoch: migration.epoch.0,
            action: Some(action),
        })
    }

    /// After a cold move the target has the definition; a dead host's is what it told last.
    fn definition_to_start(&self, migration: &Migration) -> Option<String> {
        if migration.settings.mode != MigrationMode::Rescue {
            return Some(String::new());
        }
        let tables = self.records.read();
        tables.definitions.get(migration.guest).map(|record| record.xml.clone())
    }

    /// The source's statistics came after the guest already ran on the target.
    async fn tell_statistics(&self, operation: &OperationRecord) {
        let Some(outcome) = operation.migration.outcome else { return };
        let draft = statistics(&self.records.read(), operation, &outcome);
        self.events.record(draft).await;
    }

    /// Events for what a step changed; after the effects, off the guest's blackout.
    async fn tell(&self, applied: &Applied, event: &MigrationEvent) {
        let (before, after) = (&applied.before.migration, &applied.after.migration);
        if before.state.as_str() == after.state.as_str() {
            // Each try may fail in other words.
            let kind = |of: &Migration| of.trouble().map(|why| why.kind == FailureKind::Refused);
            if kind(before) != kind(after) {
                let draft = post_copy_stands(&self.records.read(), &applied.after);
                self.events.record(draft).await;
            }
            if before.outcome.is_none() && matches!(after.state, MigrationState::Completed { .. }) {
                self.tell_statistics(&applied.after).await;
            }
            if let MigrationEvent::Blackout { millis, still_silent } = *event {
                let draft = blackout(&self.records.read(), &applied.after, millis, still_silent);
                self.events.record(draft).await;
            }
            return;
        }
        if after.state.is_finished() {
            self.live.finish(after.operation);
        }
        let draft = story(&self.records.read(), &applied.after);
        if let Some(draft) = draft {
            self.events.record(draft).await;
        }
    }
}

/// What else changes when an operation ends.
fn settle(tables: &Tables, txn: &mut Txn, after: &OperationRecord, now: drover_model::Timestamp) {
    let migration = &after.migration;
    for host in [migration.from, migration.to] {
        if let Some(before) = tables.hosts.get(host) {
            txn.change(before, HostRecord { disturbed: Some(now), ..before.clone() });
        }
    }
    let arrived = matches!(migration.state, MigrationState::Completed { .. });
    if let Some(before) = tables.guests.get(migration.guest).filter(|_| arrived) {
        let mut after = before.clone();
        after.guest.host = migration.to;
        after.last_moved = Some(now);
        txn.change(before, after);
    }
}

/// A command's id names its effect, so that an answer needs no memory.
const EFFECTS: [(&str, Effect); 9] = [
    ("accept-incoming", Effect::AcceptIncoming),
    ("start-migration", Effect::StartMigration),
    ("cancel-migration", Effect::CancelMigration),
    ("resume-at-target", Effect::ResumeAtTarget),
    ("discard-at-target", Effect::DiscardAtTarget),
    ("resume-at-source", Effect::ResumeAtSource),
    ("define-at-target", Effect::DefineAtTarget),
    ("start-at-target", Effect::StartAtTarget),
    ("remove-at-source", Effect::RemoveAtSource),
];

fn command_id(effect: Effect) -> &'static str {
    EFFECTS.iter().find(|(_, known)| *known == effect).map_or("unknown", |(id, _)| id)
}

/// The effect that a command id names.
pub fn effect_of(command_id: &str) -> Option<Effect> {
    EFFECTS.iter().find(|(id, _)| *id == command_id).map(|(_, effect)| *effect)
}

/// A transfer that broke after the switch to post-copy, or goes on.
fn post_copy_stands(tables: &Tables, operation: &OperationRecord) -> Draft {
    let migration = &operation.migration;
    let guest = tables.guest_name(migration.guest);
    let (from, to) = (tables.host_name(migration.from), tables.host_name(migration.to));
    let draft = match migration.trouble() {
        Some(why) => {
            let text = format!("{guest} is half on {from} and half on {to}: {}", why.message);
            Draft::new("migration.post_copy_broke", Severity::Warning, text)
        }
        None => {
            let text = format!("the transfer of {guest} from {from} to {to} goes on");
            Draft::new("migration.post_copy_goes_on", Severity::Info, text)
        }
    };
    of_move(draft, tables, operation)
}

/// What happened, in words; none where it is no news.
fn told(tables: &Tables, operation: &OperationRecord) -> Option<Draft> {
    let migration = &operation.migration;
    let guest = tables.guest_name(migration.guest);
    let (from, to) = (tables.host_name(migration.from), tables.host_name(migration.to));
    Some(match &migration.state {
        MigrationState::Offering => Draft::new(
            "migration.started",
            Severity::Info,
            format!("{guest} goes from {from} to {to} ({})", operation.cause),
        ),
        MigrationState::Transferring => Draft::new(
            "migration.transferring",
            Severity::Info,
            format!("{to} is ready; {from} sends {guest}"),
        ),
        MigrationState::Resuming => {
            let gone = match migration.settings.mode {
                MigrationMode::Live => format!("is gone from {from}"),
                MigrationMode::Cold => format!("is copied from {from}"),
                MigrationMode::Rescue => format!("is lost with {from}"),
            };
            let text = format!("{guest} {gone}; {to} owns it (epoch {})", migration.epoch);
            Draft::new("migration.handover", Severity::Info, text)
        }
        MigrationState::PostCopy { .. } => Draft::new(
            "migration.post_copy",
            Severity::Info,
            format!("{guest} switches to {to} before all of its memory is there"),
        ),
        MigrationState::Defining { .. } => Draft::new(
            "migration.copied",
            Severity::Info,
            format!("{guest} is copied; {to} checks and defines it"),
        ),
        MigrationState::Completed { .. } => completed(operation, &guest, &from, &to),
        MigrationState::Cancelled => Draft::new(
            "migration.cancelled",
            Severity::Info,
            format!("{guest} stays on {from}: cancelled on request"),
        ),
        MigrationState::Failed { cause, guest_lost } => {
            let severity = if *guest_lost { Severity::Error } else { Severity::Warning };
            let owner = tables.owners.get(migration.guest).map(|owner| owner.host);
            let place = if owner == Some(migration.to) { &to } else { &from };
            let text = if *guest_lost {
                format!("{guest} runs nowhere after its move to {to}: {}", cause.message)
            } else {
                format!("{guest} is on {place}: {}", cause.message)
            };
            Draft::new("migration.failed", severity, text)
        }
        MigrationState::CleaningUp { cause } => Draft::new(
            "migration.cleaning_up",
            Severity::Warning,
            format!("{guest} could not move to {to}: {}", cause.message),
        ),
        MigrationState::Admitted
        | MigrationState::Cancelling
        | MigrationState::Returning { .. } => return None,
    })
}

fn story(tables: &Tables, operation: &OperationRecord) -> Option<Draft> {
    Some(of_move(told(tables, operation)?, tables, operation))
}

/// What every event of a move says.
fn of_move(draft: Draft, tables: &Tables, operation: &OperationRecord) -> Draft {
    let migration = &operation.migration;
    let guest = tables.guest_name(migration.guest);
    let (from, to) = (tables.host_name(migration.from), tables.host_name(migration.to));
    let owner = tables.owners.get(migration.guest);
    let phase = owner.map(|owner| match owner.phase {
        OwnerPhase::Settled => "settled",
        OwnerPhase::Leaving { .. } => "leaving",
        OwnerPhase::Arriving { .. } => "arriving",
    });
    of_rule(draft, &operation.cause)
        .guest(guest)
        .host(to.clone())
        .operation(migration.operation)
        .plan(operation.plan)
        .with("from", from)
        .with("to", to)
        .with("epoch", migration.epoch.0)
        .with("owner_phase", phase)
}

/// What ties a move's events to the rule that wanted it.
pub(crate) fn of_rule(draft: Draft, cause: &Cause) -> Draft {
    match cause {
        Cause::Rule { name, .. } => draft.rule(name.clone()),
        Cause::Policy { .. } | Cause::Request { .. } | Cause::Drain { .. } => draft,
    }
}

fn completed(operation: &OperationRecord, guest: &str, from: &str, to: &str) -> Draft {
    let whole = operation.changed().since(operation.created).as_millis();
    let settings = &operation.migration.settings;
    if settings.mode == MigrationMode::Cold && !settings.auto_start {
        let text = format!("{guest} is on {to}, shut off; from {from} in {whole} ms");
        return Draft::new("migration.completed", Severity::Info, text)
            .with("whole_ms", u64::try_from(whole).unwrap_or(u64::MAX));
    }
    let handover = handover_ms(operation);
    let text = format!(
        "{guest} runs on {to}; from {from} in {whole} ms, handover {} ms",
        handover.unwrap_or_default()
    );
    Draft::new("migration.completed", Severity::Info, text)
        .with("handover_ms", handover)
        .with("whole_ms", u64::try_from(whole).unwrap_or(u64::MAX))
}

fn statistics(tables: &Tables, operation: &OperationRecord, outcome: &MigrationOutcome) -> Draft {
    let migration = &operation.migration;
    let guest = tables.guest_name(migration.guest);
    let downtime = outcome
        .downtime_ms
        .map_or_else(|| "not reported".to_owned(), |downtime| format!("{downtime} ms"));
    let sent = match (outcome.transferred, outcome.iterations) {
        (Some(sent), Some(passes)) => format!("{sent} sent in {passes} iteration(s) and"),
        _ => "sent in".to_owned(),
    };
    let text = format!("{guest}: {sent} {} ms, QEMU's downtime {downtime}", outcome.total_ms);
    of_rule(Draft::new("migration.statistics", Severity::Info, text), &operation.cause)
        .guest(guest)
        .operation(migration.operation)
        .plan(operation.plan)
        .with("total_ms", outcome.total_ms)
        .with("downtime_ms", outcome.downtime_ms)
        .with("transferred_bytes", outcome.transferred.map(|sent| sent.0))
        .with("iterations", outcome.iterations)
}

/// From the proof that the source's copy is gone to the target running, milliseconds.
pub fn handover_ms(operation: &OperationRecord) -> Option<u64> {
    let begun = operation.entered("resuming")?;
    let ended = operation.entered("completed")?;
    u64::try_from(ended.since(begun).as_millis()).ok()
}
