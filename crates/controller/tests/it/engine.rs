//! The engine: order of storing and asking, answers, restart.

use drover_agent_api::v1::{FromController, command, from_controller};
use drover_api::v1::{EventQuery, Role};
use drover_controller::engine::effect_of;
use drover_controller::records::{
    Cause, GuestRecord, HostRecord, OperationRecord, PlanRecord, PlanState,
};
use drover_lifecycle::{Effect, Failure, FailureKind, Migration, MigrationEvent, MigrationState};
use drover_model::{
    Epoch, HostState, MigrationOutcome, MigrationSettings, OperationId, OwnerPhase, OwnerRecord,
    PlanId,
};
use drover_ports::Clock as _;
use drover_testkit::{guest, guest_id, host, host_id};
use tokio::sync::mpsc;

use crate::world::World;

const OPERATION: OperationId = OperationId::from_u128(77);

struct Agents {
    source: mpsc::Receiver<FromController>,
    target: mpsc::Receiver<FromController>,
}

/// What the next message asks for, with its epoch.
fn asked(messages: &mut mpsc::Receiver<FromController>) -> Option<(&'static str, u64)> {
    let Some(from_controller::Body::Command(command)) = messages.try_recv().ok()?.body else {
        return None;
    };
    assert!(effect_of(&command.command_id).is_some());
    let what = match command.action? {
        command::Action::AcceptIncoming(_) => "accept",
        command::Action::StartMigration(_) => "start",
        command::Action::CancelMigration(_) => "cancel",
        command::Action::Resume(_) => "resume",
        command::Action::DiscardIncoming(_) => "discard",
        command::Action::DefineIncoming(_) => "define",
        command::Action::StartGuest(_) => "start-guest",
        command::Action::RemoveDeparted(_) => "remove",
    };
    Some((what, command.epoch))
}

async fn admitted(world: &World) -> Agents {
    use drover_controller::live::SESSION_QUEUE;
    let (to_source, source) = mpsc::channel(SESSION_QUEUE);
    let (to_target, target) = mpsc::channel(SESSION_QUEUE);
    let now = drover_model::Timestamp::EPOCH;
    world.live.connect(host_id(1), to_source, now);
    world.live.connect(host_id(2), to_target, now);
    let owner = OwnerRecord {
        guest: guest_id(1),
        host: host_id(1),
        epoch: Epoch(4),
        phase: OwnerPhase::Settled,
    };
    let migration = Migration::new(OPERATION, owner, host_id(2), MigrationSettings::default());
    let cause = Cause::Request { who: "test".to_owned() };
    let plan = PlanId::from_u128(1);
    world
        .update(|txn| {
            for n in [1, 2] {
                txn.put(HostRecord { host: host(n, 4.0, 16), disturbed: None });
            }
            txn.put(GuestRecord { guest: guest(1, 1, 512), last_moved: None, absent: false });
            txn.put(owner);
            txn.put(PlanRecord {
                id: plan,
                at: now,
                cause: cause.clone(),
                state: PlanState::Running,
                plan: drover_planner::Plan::default(),
                report: drover_planner::PlanReport::default(),
                settings: drover_model::MigrationSettings::default(),
                operations: vec![OPERATION],
                measure: None,
            });
            let created = world.clock.now();
            txn.put(OperationRecord {
                migration,
                cause,
                plan,
                created,
                timeline: vec![],
                notes: vec![],
                forecast: None,
            });
        })
        .await;
    Agents { source, target }
}

fn state(world: &World) -> String {
    world.records.read().operations.get(OPERATION).unwrap().migration.state.as_str().to_owned()
}

fn owner(world: &World) -> OwnerRecord {
    *world.records.read().owners.get(guest_id(1)).unwrap()
}

#[tokio::test]
async fn the_target_resumes_only_under_a_stored_new_epoch() {
    let world = World::new().await;
    let mut agents = admitted(&world).await;
    world.engine.take(OPERATION, MigrationEvent::Begin).await;
    assert_eq!(asked(&mut agents.target), Some(("accept", 5)));
    world.engine.take(OPERATION, MigrationEvent::TargetAccepted).await;
    assert_eq!(asked(&mut agents.source), Some(("start", 5)));
    assert_eq!(owner(&world).host, host_id(1), "the source owns it while it sends");
    assert_eq!(asked(&mut agents.target), None, "nobody resumes before the source is gone");
    world.engine.take(OPERATION, MigrationEvent::SourceGone).await;
    assert_eq!((owner(&world).host, owner(&world).epoch), (host_id(2), Epoch(6)));
    assert_eq!(asked(&mut agents.target), Some(("resume", 6)));
    world.engine.take(OPERATION, MigrationEvent::TargetRuns).await;
    assert_eq!(state(&world), "completed");
    assert_eq!(owner(&world).phase, OwnerPhase::Settled);
    let tables = world.records.read();
    assert_eq!(tables.guests.get(guest_id(1)).unwrap().guest.host, host_id(2));
    assert!(tables.guests.get(guest_id(1)).unwrap().last_moved.is_some());
    assert!(tables.hosts.get(host_id(1)).unwrap().disturbed.is_some(), "windows start anew");
}

#[tokio::test]
async fn what_was_asked_is_said_again_to_the_host_that_reconnects() {
    let world = World::new().await;
    let mut agents = admitted(&world).await;
    world.live.looks_clear(OPERATION, world.clock.now());
    world.engine.begin_admitted().await;
    assert_eq!(asked(&mut agents.target), Some(("accept", 5)));
    world.engine.say_again(Some(host_id(1)));
    assert_eq!(asked(&mut agents.source), None, "the source has nothing to do yet");
    world.engine.say_again(Some(host_id(2)));
    assert_eq!(asked(&mut agents.target), Some(("accept", 5)));
    world.engine.take(OPERATION, MigrationEvent::TargetAccepted).await;
    assert_eq!(asked(&mut agents.source), Some(("start", 5)));
    world.engine.say_again(None);
    assert_eq!(asked(&mut agents.source), Some(("start", 5)));
}

#[tokio::test]
async fn repeated_and_late_events_change_nothing() {
    let world = World::new().await;
    let mut agents = admitted(&world).await;
    for event in [
        MigrationEvent::Begin,
        MigrationEvent::TargetAccepted,
        MigrationEvent::SourceGone,
        MigrationEvent::SourceGone,
        MigrationEvent::TargetAccepted,
        MigrationEvent::Begin,
    ] {
        world.engine.take(OPERATION, event).await;
    }
    assert_eq!(state(&world), "resuming");
    assert_eq!(asked(&mut agents.target), Some(("accept", 5)));
    assert_eq!(asked(&mut agents.target), Some(("resume", 6)));
    assert_eq!(asked(&mut agents.target), None);
    world.engine.take(OPERATION, MigrationEvent::TargetRuns).await;
    let outcome = MigrationOutcome { total_ms: 900, ..MigrationOutcome::default() };
    world.engine.take(OPERATION, MigrationEvent::SourceFinished(outcome)).await;
    let tables = world.records.read();
    let after = &tables.operations.get(OPERATION).unwrap().migration.state;
    assert_eq!(*after, MigrationState::Completed { outcome: Some(outcome) });
}

#[tokio::test]
async fn an_owner_that_others_changed_stops_the_operation() {
    let world = World::new().await;
    let mut agents = admitted(&world).await;
    let elsewhere = OwnerRecord { epoch: Epoch(9), host: host_id(2), ..owner(&world) };
    world.update(|txn| txn.put(elsewhere)).await;
    world.engine.take(OPERATION, MigrationEvent::Begin).await;
    assert_eq!(state(&world), "admitted", "nothing moves under a stale owner");
    assert_eq!(owner(&world), elsewhere);
    assert_eq!(asked(&mut agents.target), None);
}

/// It is told when it breaks and when it goes on, once each, and what is shown says so.
#[tokio::test]
async fn a_post_copy_that_stands_still_says_so() {
    use drover_model::{MigrationProgress, PostCopy};
    let world = World::new().await;
    let _agents = admitted(&world).await;
    let now = MigrationSettings { post_copy: PostCopy::Now, ..MigrationSettings::default() };
    for event in
        [MigrationEvent::Begin, MigrationEvent::TargetAccepted, MigrationEvent::Adjust(now)]
    {
        world.engine.take(OPERATION, event).await;
    }
    assert_eq!(state(&world), "post-copy");
    let failure_shown = || {
        let tables = world.records.read();
        let shown = drover_controller::http::operation_view(&tables, &world.live, OPERATION);
        shown.unwrap().failure
    };
    let progress = || MigrationEvent::Progress(MigrationProgress::default());
    world.engine.take(OPERATION, progress()).await;
    assert_eq!(failure_shown(), None);
    let broke = Failure { kind: FailureKind::Broken, message: "the line is cut".to_owned() };
    let otherwise = Failure { message: "no route to host".to_owned(), ..broke.clone() };
    for why in [&otherwise, &broke, &broke] {
        world.engine.take(OPERATION, MigrationEvent::PostCopyFailed(why.clone())).await;
    }
    assert_eq!(failure_shown().as_deref(), Some("the line is cut"));
    let token = world.token(Role::Operator).await;
    let (_, guest) = world.call("GET", "/v1/guests/vm1", Some(&token), None).await;
    assert!(guest["hint"].as_str().unwrap().starts_with("the line is cut; `drover op"), "{guest}");
    for _ in 0..2 {
        world.engine.take(OPERATION, progress()).await;
    }
    assert_eq!(failure_shown(), None);
    let events = world.api.events.query(&EventQuery::default()).await.unwrap();
    let told: Vec<&str> = events
        .iter()
        .map(|event| event.kind.as_str())
        .filter(|kind| kind.starts_with("migration.post_copy"))
        .collect();
    assert_eq!(
        told,
        ["migration.post_copy", "migration.post_copy_broke", "migration.post_copy_goes_on"]
    );
}

/// As the driver's turns do it.
async fn follow_plans(world: &World) {
    use drover_controller::reconcile::{FollowPlans, Reconcile as _};
    let plans = FollowPlans {
        records: std::sync::Arc::clone(&world.records),
        events: std::sync::Arc::clone(&world.api.events),
        history: std::sync::Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: std::time::Duration::from_secs(5),
    };
    plans.reconcile().await.unwrap();
}

fn plan_state(world: &World) -> PlanState {
    world.records.read().plans.get(PlanId::from_u128(1)).unwrap().state
}

async fn unreachable(world: &World, number: u128) {
    let mut host = host(number, 4.0, 16);
    host.state = HostState::Unreachable;
    world.update(|txn| txn.put(HostRecord { host, disturbed: None })).await;
}

#[tokio::test]
async fn a_dead_target_holds_neither_its_guest_nor_other_plans() {
    let world = World::new().await;
    let mut agents = admitted(&world).await;
    world.engine.take(OPERATION, MigrationEvent::Begin).await;
    world.engine.take(OPERATION, MigrationEvent::TargetAccepted).await;
    let broken = Failure { kind: FailureKind::Broken, message: "cut".to_owned() };
    world.engine.take(OPERATION, MigrationEvent::SourceFailed(broken)).await;
    world.engine.leave_unreachable_targets().await;
    follow_plans(&world).await;
    assert_eq!((state(&world).as_str(), plan_state(&world)), ("cleaning-up", PlanState::Running));
    unreachable(&world, 2).await;
    world.engine.leave_unreachable_targets().await;
    assert_eq!(state(&world), "returning");
    while let Some((what, _)) = asked(&mut agents.source) {
        assert!(["start", "resume"].contains(&what), "{what}");
    }
    world.engine.take(OPERATION, MigrationEvent::SourceRuns).await;
    follow_plans(&world).await;
    assert_eq!((state(&world).as_str(), plan_state(&world)), ("failed", PlanState::Failed));
    assert_eq!((owner(&world).host, owner(&world).phase), (host_id(1), OwnerPhase::Settled));
    while asked(&mut agents.target).is_some() {}
    world.engine.say_again(Some(host_id(2)));
    let epoch = owner(&world).epoch.0;
    assert_eq!(asked(&mut agents.target), Some(("discard", epoch)), "owed when it is back");
    world.engine.answered(OPERATION, Effect::DiscardAtTarget, None).await;
    world.engine.say_again(Some(host_id(2)));
    assert_eq!(asked(&mut agents.target), None, "paid");
}

#[tokio::test]
async fn a_plan_does_not_wait_for_a_dead_source() {
    let world = World::new().await;
    let _agents = admitted(&world).await;
    world.engine.take(OPERATION, MigrationEvent::Begin).await;
    world.engine.take(OPERATION, MigrationEvent::TargetAccepted).await;
    unreachable(&world, 1).await;
    world.engine.leave_unreachable_targets().await;
    follow_plans(&world).await;
    assert_eq!(plan_state(&world), PlanState::Failed);
    assert_eq!(state(&world), "transferring", "the guest stays bound: nobody knows where it is");
}
