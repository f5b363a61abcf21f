//! Migrations: droverd's own state machine, and agents that the model answers for.
//!
//! An effect asked of a host that is down gets no answer; it is asked again at each turn,
//! as droverd does every 3 s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drover_lifecycle::{
    Effect, Failure, FailureKind, Migration, MigrationEvent, MigrationState, TargetFate,
};
use drover_model::{
    Bytes, HostId, InFlightMove, MigrationOutcome, MigrationSettings, Name, OperationId,
    OwnerPhase, Timestamp,
};
use drover_planner::PlannedMove;

use super::World;
use super::state::{Copy, as_float};
use crate::report::{Forecast, MoveReport};
use crate::settings::Settings;
use crate::transfer::{Transfer, first_done, rates, send};

/// One migration.
#[derive(Debug)]
pub(super) struct Operation {
    migration: Migration,
    guest: usize,
    from: usize,
    to: usize,
    cause: Name,
    why: String,
    /// What the plan expected and what came of it; none for a recorded move.
    forecast: Option<Forecast>,
    created: Timestamp,
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
    bytes: f64,
}

/// All migrations of a run.
#[derive(Debug, Default)]
pub(super) struct Operations {
    all: Vec<Operation>,
    open: BTreeSet<usize>,
    transfers: Vec<Transfer>,
    /// What agents will say, by time and in the order of the questions.
    answers: BTreeMap<(Timestamp, u64), (usize, Effect)>,
    asked: u64,
}

/// A move that is to begin.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) guest: usize,
    pub(super) to: HostId,
    pub(super) cause: Name,
    pub(super) planned: Option<PlannedMove>,
}

impl Operations {
    /// Moves that have begun and not ended.
    pub(super) fn in_flight(&self) -> Vec<InFlightMove> {
        let flight = |number: &usize| {
            let migration = &self.all[*number].migration;
            InFlightMove {
                operation: migration.operation,
                guest: migration.guest,
                from: migration.from,
                to: migration.to,
            }
        };
        self.open.iter().map(flight).collect()
    }

    /// Whether it moved the guest.
    pub(super) fn completed(&self, number: usize) -> bool {
        matches!(self.all[number].migration.state, MigrationState::Completed { .. })
    }

    /// Source and target.
    pub(super) fn ends(&self, number: usize) -> [usize; 2] {
        [self.all[number].from, self.all[number].to]
    }

    /// Notes what came of a move's forecast: source and target as measured.
    pub(super) fn measured(&mut self, number: usize, values: [f64; 2]) {
        if let Some(forecast) = &mut self.all[number].forecast {
            (forecast.from_measured, forecast.to_measured) = (Some(values[0]), Some(values[1]));
        }
    }

    /// Every move, as it is told.
    pub(super) fn told(self, settings: &Settings) -> Vec<MoveReport> {
        let since = |at: Timestamp| at.since(settings.start).as_secs_f64();
        let host = |number: usize| settings.cluster.hosts()[number].name.clone();
        self.all
            .into_iter()
            .map(|one| MoveReport {
                began_s: since(one.created),
                ended_s: one.ended.map(since),
                guest: settings.cluster.guests()[one.guest].name.clone(),
                from: host(one.from),
                to: host(one.to),
                state: one.migration.state.as_str().to_owned(),
                failure: match one.migration.state {
                    MigrationState::Failed { cause, .. } => Some(cause.message),
                    _ => None,
                },
                cause: one.cause,
                why: one.why,
                sent_mib: one.bytes / 1_048_576.0,
                forecast: one.forecast,
            })
            .collect()
    }
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.to_owned() }
}

impl World {
    /// Creates a migration and begins it; none when its guest is not settled elsewhere.
    pub(super) fn begin(&mut self, order: Order) -> Option<usize> {
        let number = self.operations.all.len();
        let owner = self.guests[order.guest].owner;
        if owner.phase != OwnerPhase::Settled || owner.host == order.to {
            return None;
        }
        let id = OperationId::from_u128(number as u128 + 1);
        let migration = Migration::new(id, owner, order.to, MigrationSettings::default());
        let why = order.planned.as_ref();
        self.operations.all.push(Operation {
            migration,
            guest: order.guest,
            from: self.host_number[&owner.host],
            to: self.host_number[&order.to],
            cause: order.cause,
            why: why.map_or_else(String::new, |step| step.why_guest.clone()),
            forecast: order.planned.as_ref().map(Forecast::of),
            created: self.now,
            began: None,
            ended: None,
            bytes: 0.0,
        });
        self.operations.open.insert(number);
        self.take(number, &MigrationEvent::Begin, self.now);
        Some(number)
    }

    /// Whether it has ended or waits for a host that is down: one dead host does not hold
    /// up the plans of all others.
    pub(super) fn is_over(&self, number: usize) -> bool {
        let migration = &self.operations.all[number].migration;
        let down = |effect: &Effect| !self.hosts[self.asked_host(number, *effect)].up;
        migration.state.is_finished() || migration.effects_again().iter().any(down)
    }

    fn asked_host(&self, number: usize, effect: Effect) -> usize {
        self.host_number[&self.operations.all[number].migration.host_of(effect)]
    }

    /// Agents answer and memory flows until this moment.
    pub(super) fn operate(&mut self, until: Timestamp) {
        let mut at = self.now;
        loop {
            let hosts = self.settings.cluster.hosts();
            let rates = rates(&self.operations.transfers, |host| hosts[host].link);
            let done = first_done(&self.operations.transfers, &rates).map(|seconds| {
                // Rounded up: at that millisecond it is done.
                at.plus(Duration::from_millis((seconds * 1000.0).ceil() as u64))
            });
            let answer = self.operations.answers.keys().next().map(|(at, _)| *at);
            let next = done.into_iter().chain(answer).min().unwrap_or(until).min(until);
            let seconds = next.since(at).as_secs_f64();
            for transfer in &self.operations.transfers {
                let guest = self.operations.all[transfer.operation].guest;
                let lost = self.guests[guest].gets * self.settings.model.move_cpu_loss;
                self.tally.lost_to_a_move(lost * seconds);
            }
            let sent = send(&mut self.operations.transfers, &rates, seconds);
            at = next.max(at);
            for number in sent {
                self.sent(number, at);
            }
            while let Some(first) = self.operations.answers.first_entry() {
                if first.key().0 > at {
                    break;
                }
                let (number, effect) = first.remove();
                self.answer(number, effect, at);
            }
            if at >= until {
                break;
            }
        }
    }

    /// All memory is on the target: the source's process ends.
    fn sent(&mut self, number: usize, at: Timestamp) {
        let one = &self.operations.all[number];
        let (guest, from) = (one.guest, one.from);
        let took = at.since(one.began.unwrap_or(at));
        let outcome = MigrationOutcome {
            total_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            transferred: Some(Bytes(one.bytes as u64)),
            ..MigrationOutcome::default()
        };
        self.guests[guest].set_copy(from, None);
        self.take(number, &MigrationEvent::SourceGone, at);
        self.take(number, &MigrationEvent::SourceFinished(outcome), at);
    }

    /// Something happened to a migration: the next state, the owner, and what is asked.
    pub(super) fn take(&mut self, number: usize, event: &MigrationEvent, at: Timestamp) {
        let one = &mut self.operations.all[number];
        let Ok(stepped) = one.migration.step(event) else { return };
        one.migration = stepped.migration;
        let guest = one.guest;
        if let Some(change) = stepped.owner {
            let owner = &mut self.guests[guest].owner;
            let agrees = owner.epoch == change.expected;
            *owner = change.record;
            if !agrees {
                let name = self.guest_name(guest).to_owned();
                self.violation(format!("the owner of {name} changed behind its migration"));
            }
        }
        if self.operations.all[number].migration.state.is_finished()
            && self.operations.open.remove(&number)
        {
            self.settle(number, at);
        }
        for effect in stepped.effects {
            self.ask(number, effect, at);
        }
    }

    /// What else changes when a migration ends: as droverd does it.
    fn settle(&mut self, number: usize, at: Timestamp) {
        let completed = self.operations.completed(number);
        let one = &mut self.operations.all[number];
        one.ended = Some(at);
        for host in [one.from, one.to] {
            self.hosts[host].disturbed = Some(at);
        }
        if completed {
            self.guests[one.guest].last_moved = Some(at);
            if let Some(view) = self.view.guests.get_mut(&one.migration.guest) {
                view.guest.host = one.migration.to;
            }
        }
    }

    fn ask(&mut self, number: usize, effect: Effect, at: Timestamp) {
        if !self.hosts[self.asked_host(number, effect)].up {
            return;
        }
        let model = &self.settings.model;
        let after = match effect {
            Effect::AcceptIncoming => model.offer,
            Effect::ResumeAtTarget => model.handover,
            Effect::StartMigration => Duration::ZERO,
            Effect::CancelMigration | Effect::DiscardAtTarget | Effect::ResumeAtSource => {
                model.answer
            }
            // Moves here are live, on shared disks.
            Effect::DefineAtTarget | Effect::StartAtTarget | Effect::RemoveAtSource => return,
        };
        self.operations.asked += 1;
        let key = (at.plus(after), self.operations.asked);
        self.operations.answers.insert(key, (number, effect));
    }

    /// What an agent says, by what there is on its host now.
    fn answer(&mut self, number: usize, effect: Effect, at: Timestamp) {
        let one = &self.operations.all[number];
        let (guest, from, to) = (one.guest, one.from, one.to);
        let here = self.guests[guest].copy_on(to);
        let event = match effect {
            Effect::AcceptIncoming => self.accept(number),
            Effect::StartMigration => match self.start_sending(number, at) {
                Ok(()) => return,
                Err(failure) => MigrationEvent::SourceFailed(failure),
            },
            Effect::CancelMigration
            | Effect::DefineAtTarget
            | Effect::StartAtTarget
            | Effect::RemoveAtSource => return,
            Effect::ResumeAtTarget if here.is_some() => {
                self.guests[guest].set_copy(to, Some(Copy::Running));
                MigrationEvent::TargetRuns
            }
            Effect::ResumeAtTarget => MigrationEvent::TargetResumeFailed(failure(
                FailureKind::Gone,
                "the target died before the guest ran there",
            )),
            Effect::DiscardAtTarget if here == Some(Copy::Running) => {
                MigrationEvent::TargetCopy(TargetFate::HasRun)
            }
            Effect::DiscardAtTarget => {
                self.guests[guest].set_copy(to, None);
                MigrationEvent::TargetCopy(TargetFate::Clean)
            }
            Effect::ResumeAtSource if self.guests[guest].copy_on(from).is_some() => {
                MigrationEvent::SourceRuns
            }
            Effect::ResumeAtSource => MigrationEvent::SourceResumeFailed(failure(
                FailureKind::Gone,
                "the guest died with its host",
            )),
        };
        self.take(number, &event, at);
    }

    fn accept(&mut self, number: usize) -> MigrationEvent {
        let one = &self.operations.all[number];
        let (guest, to, planned) = (one.guest, one.to, one.forecast.is_some());
        let needs = as_float(self.settings.cluster.guests()[guest].memory.bytes());
        if planned && self.room(to) < needs {
            self.no_room(guest, to);
            let text = "the target has not enough memory any more";
            return MigrationEvent::TargetRefused(failure(FailureKind::Refused, text));
        }
        self.guests[guest].set_copy(to, Some(Copy::Incoming));
        MigrationEvent::TargetAccepted
    }

    fn start_sending(&mut self, number: usize, at: Timestamp) -> Result<(), Failure> {
        let one = &self.operations.all[number];
        let (guest, from, to) = (one.guest, one.from, one.to);
        if self.operations.transfers.iter().any(|transfer| transfer.operation == number) {
            return Ok(());
        }
        if self.guests[guest].copy_on(from).is_none() {
            return Err(failure(FailureKind::Gone, "the guest died with its host"));
        }
        if self.guests[guest].copy_on(to).is_none() {
            return Err(failure(FailureKind::Broken, "the target died"));
        }
        let bytes = self.guests[guest].resident * self.settings.model.dirty_factor;
        self.operations.all[number].bytes = bytes;
        self.operations.all[number].began = Some(at);
        self.operations.transfers.push(Transfer { operation: number, from, to, left: bytes });
        Ok(())
    }

    /// Ends what flows from and to a host that died.
    pub(super) fn host_died(&mut self, host: usize) {
        let operations = &mut self.operations;
        let cut = |transfer: &Transfer| transfer.from == host || transfer.to == host;
        let lost: Vec<Transfer> = operations.transfers.iter().copied().filter(cut).collect();
        operations.transfers.retain(|transfer| !cut(transfer));
        let all = &operations.all;
        let numbers = &self.host_number;
        operations
            .answers
            .retain(|_, (one, effect)| numbers[&all[*one].migration.host_of(*effect)] != host);
        for transfer in lost {
            if !self.hosts[transfer.from].up {
                continue;
            }
            let event =
                MigrationEvent::SourceFailed(failure(FailureKind::Broken, "the target died"));
            self.take(transfer.operation, &event, self.now);
        }
    }

    /// Says again what each state asks for, and does not wait for targets that are down.
    pub(super) fn ask_again(&mut self) {
        let awaited: BTreeSet<usize> =
            self.operations.answers.values().map(|(number, _)| *number).collect();
        let sending = |number: usize, all: &[Transfer]| all.iter().any(|t| t.operation == number);
        for number in self.operations.open.clone() {
            if awaited.contains(&number) || sending(number, &self.operations.transfers) {
                continue;
            }
            if !self.hosts[self.operations.all[number].to].up {
                self.take(number, &MigrationEvent::TargetUnreachable, self.now);
            }
            for effect in self.operations.all[number].migration.effects_again() {
                let unasked =
                    !self.operations.answers.values().any(|asked| *asked == (number, effect));
                if unasked {
                    self.ask(number, effect, self.now);
                }
            }
        }
    }
}
