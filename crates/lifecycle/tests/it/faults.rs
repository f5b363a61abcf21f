//! Repeat, loss, crash and failure at every step, in seeded random order, against a model
//! of two hosts: never two running copies, and every run ends once faults stop.

use std::collections::VecDeque;

use drover_lifecycle::{
    Effect, Failure, FailureKind, Migration, MigrationEvent as E, MigrationState, TargetFate,
};
use drover_model::{Epoch, MigrationOutcome, OwnerRecord};
use proptest::prelude::*;

use crate::{admitted, failure};

/// What libvirt and the two agents would do, reduced to what matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    None,
    Running,
    /// Stopped at the switch-over, or by a lost reply of libvirt's finish.
    Stopped,
    /// Arrived and never run.
    Paused,
}

#[derive(Debug)]
struct World {
    source: Copy,
    target: Copy,
    source_epoch: Epoch,
    target_epoch: Epoch,
    migration: Migration,
    owner: OwnerRecord,
    started: bool,
    inbox: VecDeque<E>,
    log: Vec<String>,
}

/// What goes wrong at one moment.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    LoseEffects,
    RepeatEffects,
    LoseAnswer,
    RepeatAnswer,
    TransferFails,
    FinishReplyLost,
    TargetForgets,
    ControllerRestarts,
    /// Droverd takes the target for dead, rightly or not.
    TargetSilent,
    Cancel,
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        1 => Just(Fault::LoseEffects),
        1 => Just(Fault::RepeatEffects),
        1 => Just(Fault::LoseAnswer),
        1 => Just(Fault::RepeatAnswer),
        1 => Just(Fault::TransferFails),
        1 => Just(Fault::FinishReplyLost),
        1 => Just(Fault::TargetForgets),
        1 => Just(Fault::ControllerRestarts),
        1 => Just(Fault::TargetSilent),
        1 => Just(Fault::Cancel),
    ]
}

impl World {
    fn new() -> Self {
        let migration = admitted();
        let owner = OwnerRecord {
            guest: migration.guest,
            host: migration.from,
            epoch: migration.epoch,
            phase: drover_model::OwnerPhase::Settled,
        };
        Self {
            source: Copy::Running,
            target: Copy::None,
            source_epoch: migration.epoch,
            target_epoch: Epoch(0),
            migration,
            owner,
            started: false,
            inbox: VecDeque::from([E::Begin]),
            log: vec![],
        }
    }

    /// One event is taken, its state stored, its effects carried out.
    fn turn(&mut self, fault: Fault) {
        match fault {
            Fault::ControllerRestarts => self.say_again(),
            Fault::Cancel => self.inbox.push_back(E::CancelRequested),
            Fault::TargetSilent => self.inbox.push_front(E::TargetUnreachable),
            Fault::LoseAnswer => drop(self.inbox.pop_front()),
            Fault::RepeatAnswer => {
                if let Some(event) = self.inbox.front().cloned() {
                    self.inbox.push_back(event);
                }
            }
            _ => {}
        }
        let Some(event) = self.inbox.pop_front() else { return self.say_again() };
        let Ok(stepped) = self.migration.step(&event) else {
            self.log.push(format!("{event:?} ignored"));
            return;
        };
        if let Some(change) = stepped.owner {
            assert_eq!(change.expected, self.owner.epoch, "owner changed by someone else");
            self.owner = change.record;
        }
        self.migration = stepped.migration;
        self.log.push(format!("{event:?} -> {}", self.migration.state.as_str()));
        let times = match fault {
            Fault::LoseEffects => 0,
            Fault::RepeatEffects => 2,
            _ => 1,
        };
        for _ in 0..times {
            for effect in &stepped.effects {
                self.perform(*effect, fault);
            }
        }
        self.check();
    }

    fn say_again(&mut self) {
        if matches!(self.migration.state, MigrationState::Admitted) {
            self.inbox.push_back(E::Begin);
        }
        for effect in self.migration.effects_again() {
            self.perform(effect, Fault::None);
        }
        self.check();
    }

    fn perform(&mut self, effect: Effect, fault: Fault) {
        let epoch = self.migration.epoch;
        let at_target = self.migration.host_of(effect) == self.migration.to;
        let seen = if at_target { &mut self.target_epoch } else { &mut self.source_epoch };
        if epoch < *seen {
            return;
        }
        *seen = epoch;
        let answer = match effect {
            Effect::AcceptIncoming if self.target == Copy::Running => {
                E::TargetRefused(failure(FailureKind::Conflict))
            }
            Effect::AcceptIncoming => E::TargetAccepted,
            Effect::StartMigration => self.transfer(fault),
            Effect::CancelMigration => {
                if self.source == Copy::Running {
                    self.target = Copy::None;
                    E::SourceFailed(failure(FailureKind::Cancelled))
                } else {
                    return;
                }
            }
            Effect::ResumeAtTarget => match self.target {
                Copy::Paused | Copy::Running => {
                    self.target = Copy::Running;
                    E::TargetRuns
                }
                Copy::None | Copy::Stopped => E::TargetResumeFailed(failure(FailureKind::Gone)),
            },
            Effect::DiscardAtTarget => match self.target {
                Copy::Running => E::TargetCopy(TargetFate::HasRun),
                Copy::None | Copy::Paused | Copy::Stopped => {
                    self.target = Copy::None;
                    E::TargetCopy(TargetFate::Clean)
                }
            },
            Effect::ResumeAtSource => {
                if self.source == Copy::None {
                    E::SourceResumeFailed(failure(FailureKind::Gone))
                } else {
                    self.source = Copy::Running;
                    E::SourceRuns
                }
            }
            Effect::DefineAtTarget | Effect::StartAtTarget | Effect::RemoveAtSource => {
                panic!("a live migration without disks does not ask for {effect:?}")
            }
        };
        self.inbox.push_back(answer);
    }

    /// libvirt's part: it may fail, succeed, or succeed with its last reply lost, which
    /// leaves a paused copy on the target and the source running again.
    fn transfer(&mut self, fault: Fault) -> E {
        if self.source == Copy::None {
            return E::SourceFinished(MigrationOutcome::default());
        }
        if self.started && self.source == Copy::Running && self.target == Copy::Paused {
            return E::SourceFailed(failure(FailureKind::Broken));
        }
        self.started = true;
        match fault {
            Fault::TransferFails => {
                self.target = Copy::None;
                E::SourceFailed(Failure { kind: FailureKind::Refused, message: "no".to_owned() })
            }
            Fault::FinishReplyLost => {
                self.target = Copy::Paused;
                self.source = Copy::Stopped;
                E::SourceFailed(failure(FailureKind::Broken))
            }
            Fault::TargetForgets => {
                self.target = Copy::None;
                self.source = Copy::None;
                E::SourceGone
            }
            _ => {
                self.target = Copy::Paused;
                self.source = Copy::None;
                E::SourceGone
            }
        }
    }

    fn check(&self) {
        let twice = self.source == Copy::Running && self.target == Copy::Running;
        assert!(!twice, "two copies run:\n{}", self.log.join("\n"));
        if self.target == Copy::Running {
            assert_eq!(self.owner.host, self.migration.to, "{}", self.log.join("\n"));
        }
        if self.source == Copy::Running {
            assert_eq!(self.owner.host, self.migration.from, "{}", self.log.join("\n"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn invariant_never_two_copies_and_every_run_ends(
        schedule in prop::collection::vec(faults(), 0..40),
    ) {
        let mut world = World::new();
        for fault in schedule {
            world.turn(fault);
        }
        for _ in 0..60 {
            world.turn(Fault::None);
        }
        let state = &world.migration.state;
        prop_assert!(state.is_finished(), "stuck in {}:\n{}", state.as_str(), world.log.join("\n"));
        prop_assert_eq!(world.owner.epoch, world.migration.epoch);
        let lost = matches!(state, MigrationState::Failed { guest_lost: true, .. });
        let running = [world.source, world.target].iter().filter(|c| **c == Copy::Running).count();
        prop_assert!(!world.migration.target_unclean, "{}", world.log.join("\n"));
        let left = matches!(world.target, Copy::Paused | Copy::Stopped) && !lost;
        prop_assert!(!left, "a copy is left on the target:\n{}", world.log.join("\n"));
        prop_assert_eq!(running, usize::from(!lost), "{}", world.log.join("\n"));
    }
}
