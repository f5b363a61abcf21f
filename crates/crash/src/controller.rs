//! The controller: the real state machine, a store that is durable before anything is said,
//! and what `droverd` repeats (`engine.rs`, `reconcile/`).

use drover_lifecycle::{Effect, Migration, MigrationEvent, MigrationState, answer};
use drover_model::{
    ColdCopy, Epoch, GuestId, HostId, MigrationMode, MigrationOutcome, MigrationSettings,
    OperationId, OwnerPhase, OwnerRecord, PostCopy,
};
use rand::RngExt as _;

use crate::agenda::At;
use crate::event::{Command, Event, HostIx, OpIx};
use crate::host::Daemon;
use crate::link::{Said, Update};
use crate::schedule::{Moment, Network};
use crate::world::{HOSTS, World};

/// Operations are said again so often.
const SAY_AGAIN_EVERY: At = 3_000;

/// Hosts are looked at so often.
const WATCH_HOSTS_EVERY: At = 2_000;

/// A host whose agent is silent for so long counts as unreachable.
const UNREACHABLE_AFTER: At = 15_000;

const GUEST: GuestId = GuestId::from_u128(7);

/// What the controller knows. All but `daemon`, `heard` and `since` is in its store.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) daemon: Daemon,
    pub(crate) operations: Vec<Migration>,
    pub(crate) owner: OwnerRecord,
    unreachable: [bool; HOSTS],
    heard: [At; HOSTS],
    since: At,
}

pub(crate) const fn host_id(host: HostIx) -> HostId {
    HostId::from_u128(host as u128 + 1)
}

pub(crate) fn host_ix(id: HostId) -> HostIx {
    (0..HOSTS).find(|host| host_id(*host) == id).unwrap_or(0)
}

/// Whether something is still to be cleaned up for an operation.
pub(crate) const fn owes(migration: &Migration) -> bool {
    migration.target_unclean || migration.source_unclean
}

impl Controller {
    pub(crate) fn new() -> Self {
        Self {
            daemon: Daemon::started(),
            operations: Vec::new(),
            owner: OwnerRecord {
                guest: GUEST,
                host: host_id(0),
                epoch: Epoch(1),
                phase: OwnerPhase::Settled,
            },
            unreachable: [false; HOSTS],
            heard: [0; HOSTS],
            since: 0,
        }
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.operations.iter().all(|migration| migration.state.is_finished() && !owes(migration))
    }
}

impl World {
    pub(crate) fn start_controller(&mut self) {
        self.controller.since = self.agenda.now();
        let life = self.controller.daemon.life;
        self.agenda.after(1, Event::SayAgain { life });
        self.agenda.after(1, Event::WatchHosts { life });
    }

    /// Somebody asks for a migration; `launch.rs` says when one may begin.
    pub(crate) fn may_launch(&self, to: HostIx, mode: MigrationMode) -> bool {
        let owner = self.controller.owner;
        let here = &self.hosts[host_ix(owner.host)];
        let clean = |migration: &Migration| {
            migration.state.is_finished()
                && !(migration.target_unclean && migration.to == host_id(to))
                && !(migration.source_unclean && migration.from == host_id(to))
        };
        let fits = match mode {
            MigrationMode::Live => here.domain.lives(),
            // Its owner shuts it down for it.
            MigrationMode::Cold => {
                let half = here.domain.qemu.is_some() && !here.domain.lives();
                here.power && here.domain.defined && here.domain.job.is_none() && !half
            }
            // Somebody has looked: the host is dead.
            MigrationMode::Rescue => !here.power && here.domain.defined,
        };
        self.controller.daemon.up
            && owner.phase == OwnerPhase::Settled
            && self.controller.operations.iter().all(clean)
            && fits
    }

    pub(crate) fn launch(&mut self, to: HostIx, settings: MigrationSettings) {
        let operation = self.controller.operations.len();
        let id = OperationId::from_u128(operation as u128 + 1);
        let mode = settings.mode;
        let migration = Migration::new(id, self.controller.owner, host_id(to), settings);
        let from = host_ix(migration.from);
        self.say(|| {
            let hosts = format!("{} to {}", self.name(from), self.name(to));
            format!("controller: operation {operation}: {}, {hosts}", mode.as_str())
        });
        if mode == MigrationMode::Cold {
            self.meant_to_run = false;
            self.end_process(from, "its owner shuts it down");
        }
        self.controller.operations.push(migration);
        self.tally.migrations += 1;
        self.take(operation, &MigrationEvent::Begin);
    }

    /// One step: the state and the owner are stored, and only then is anything said.
    pub(crate) fn take(&mut self, operation: OpIx, event: &MigrationEvent) {
        let Some(before) = self.controller.operations.get(operation) else { return };
        let Ok(stepped) = before.step(event) else { return };
        if let Some(change) = stepped.owner {
            if self.controller.owner.epoch != change.expected {
                return self.violated_by_other_hand();
            }
            self.controller.owner = change.record;
        }
        let changed = before.state.as_str() != stepped.migration.state.as_str();
        self.controller.operations[operation] = stepped.migration;
        if changed {
            self.tell_step(operation, event);
        }
        for effect in stepped.effects {
            self.ask(operation, effect, true);
        }
        if self.habits.resumes_target_at_failure && matches!(event, MigrationEvent::SourceFailed(_))
        {
            self.ask(operation, Effect::ResumeAtTarget, true);
        }
        self.check_owner();
        if changed {
            self.moment(Moment::Stored);
            if let Some(moment) = moment_of(&self.controller.operations[operation].state) {
                self.moment(moment);
            }
        }
    }

    fn tell_step(&self, operation: OpIx, event: &MigrationEvent) {
        self.say(|| {
            let migration = &self.controller.operations[operation];
            let owner = &self.controller.owner;
            format!(
                "controller: operation {operation}: {} -> {}; owner {} epoch {}",
                shown(event),
                migration.state.as_str(),
                self.name(host_ix(owner.host)),
                owner.epoch
            )
        });
    }

    /// What follows from a step is said a moment after it is stored; a crash may come between.
    fn ask(&mut self, operation: OpIx, effect: Effect, after_storing: bool) {
        let migration = &self.controller.operations[operation];
        let host = host_ix(migration.host_of(effect));
        let target = host_ix(migration.to);
        let mode = migration.settings.mode;
        let (epoch, post_copy) = (migration.epoch, migration.is_post_copy());
        let may_have_run = migration.may_have_run_there();
        let command = Command { operation, epoch, effect, target, mode, post_copy, may_have_run };
        if after_storing {
            let delay = self.rng.random_range(1..4);
            let life = self.controller.daemon.life;
            self.agenda.after(delay, Event::Ask { life, host, command });
        } else {
            self.order(host, command);
        }
    }

    pub(crate) fn asked(&mut self, life: u32, host: HostIx, command: Command) {
        if self.controller.daemon.up && self.controller.daemon.life == life {
            self.order(host, command);
        }
    }

    fn say_again_to(&mut self, host: Option<HostIx>) {
        if self.habits.never_says_again {
            return;
        }
        for operation in 0..self.controller.operations.len() {
            let migration = &self.controller.operations[operation];
            for effect in migration.effects_again() {
                let of = host_ix(self.controller.operations[operation].host_of(effect));
                if host.is_none_or(|host| host == of) {
                    self.ask(operation, effect, false);
                }
            }
        }
    }

    pub(crate) fn say_again(&mut self, life: u32) {
        if !self.controller.daemon.up || self.controller.daemon.life != life {
            return;
        }
        for operation in 0..self.controller.operations.len() {
            let migration = &self.controller.operations[operation];
            let unreachable = self.controller.unreachable[host_ix(migration.to)];
            match migration.state {
                MigrationState::Admitted => self.take(operation, &MigrationEvent::Begin),
                MigrationState::Offering
                | MigrationState::Defining { .. }
                | MigrationState::CleaningUp { .. }
                    if unreachable =>
                {
                    self.take(operation, &MigrationEvent::TargetUnreachable);
                }
                _ => {}
            }
        }
        self.say_again_to(None);
        self.agenda.after(SAY_AGAIN_EVERY, Event::SayAgain { life });
    }

    pub(crate) fn watch_hosts(&mut self, life: u32) {
        if !self.controller.daemon.up || self.controller.daemon.life != life {
            return;
        }
        let now = self.agenda.now();
        for host in 0..HOSTS {
            // Samples come every 5 s in a session that works.
            let works = self.lines[host].session.is_some()
                && self.hosts[host].reaches(Network::Management, now);
            if works {
                self.controller.heard[host] = now;
                self.controller.unreachable[host] = false;
            }
            let heard = self.controller.heard[host].max(self.controller.since);
            if now - heard > UNREACHABLE_AFTER && !self.controller.unreachable[host] {
                self.controller.unreachable[host] = true;
                self.say(|| format!("controller: host {} is unreachable", self.name(host)));
            }
        }
        self.agenda.after(WATCH_HOSTS_EVERY, Event::WatchHosts { life });
    }

    /// A session begins: everything that its host is asked is said again.
    pub(crate) fn hello(&mut self, host: HostIx) {
        self.controller.heard[host] = self.agenda.now();
        self.controller.unreachable[host] = false;
        self.say_again_to(Some(host));
    }

    pub(crate) fn hear(&mut self, host: HostIx, said: Said) {
        self.controller.heard[host] = self.agenda.now();
        match said {
            Said::Answer { command, failure } => {
                if let Some(event) = answer(command.effect, failure) {
                    self.take(command.operation, &event);
                }
            }
            Said::Update { operation, update } => {
                let event = match update {
                    Update::SourceGone => MigrationEvent::SourceGone,
                    Update::Finished => MigrationEvent::SourceFinished(MigrationOutcome::default()),
                    Update::Failed(why) => MigrationEvent::SourceFailed(why),
                    Update::WantsPostCopy => MigrationEvent::WantsPostCopy("slow".to_owned()),
                    Update::PostCopyFailed(why) => MigrationEvent::PostCopyFailed(why),
                    Update::Copied => MigrationEvent::SourceCopied(ColdCopy {
                        definition: String::new(),
                        disks: Vec::new(),
                        outcome: MigrationOutcome::default(),
                    }),
                };
                self.take(operation, &event);
            }
        }
    }

    /// Somebody cancels the migration under way.
    pub(crate) fn cancel_migration(&mut self) {
        if self.controller.daemon.up && !self.controller.operations.is_empty() {
            let newest = self.controller.operations.len() - 1;
            self.take(newest, &MigrationEvent::CancelRequested);
        }
    }
}

impl World {
    /// Somebody wants it switched to post-copy; without a lease that is refused.
    pub(crate) fn switch_now(&mut self) {
        let newest = self.controller.operations.last();
        let Some(settings) = newest.map(|migration| migration.settings.clone()) else { return };
        let live = settings.mode == MigrationMode::Live;
        if self.controller.daemon.up && self.schedule.leased && live {
            let newest = self.controller.operations.len() - 1;
            let settings = MigrationSettings { post_copy: PostCopy::Now, ..settings };
            self.take(newest, &MigrationEvent::Adjust(settings));
        }
    }
}

const fn moment_of(state: &MigrationState) -> Option<Moment> {
    match state {
        MigrationState::Offering => Some(Moment::Offered),
        MigrationState::Resuming => Some(Moment::Resuming),
        MigrationState::CleaningUp { .. } => Some(Moment::CleaningUp),
        MigrationState::Returning { .. } => Some(Moment::Returning),
        _ => None,
    }
}

/// An event's name, and why where it says so.
fn shown(event: &MigrationEvent) -> String {
    let text = format!("{event:?}");
    let name = text.split(['(', ' ']).next().unwrap_or_default().to_owned();
    match event {
        MigrationEvent::TargetRefused(why)
        | MigrationEvent::TargetDefineFailed(why)
        | MigrationEvent::SourceCleanFailed(why)
        | MigrationEvent::SourceFailed(why)
        | MigrationEvent::SourceRefused(why)
        | MigrationEvent::PostCopyFailed(why)
        | MigrationEvent::TargetResumeFailed(why)
        | MigrationEvent::TargetDiscardFailed(why)
        | MigrationEvent::SourceResumeFailed(why) => {
            format!("{name} ({:?}: {})", why.kind, why.message)
        }
        MigrationEvent::TargetCopy(fate) => format!("{name} ({fate:?})"),
        _ => name,
    }
}
