//! Plans that are carried out: how they end, and what is said of it; and that nobody's change
//! is lost that comes while another decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use drover_api::v1::{EventQuery, Role};
use drover_controller::reconcile::rules::EvaluateRules;
use drover_controller::reconcile::{AdvancePlans, FollowPlans, Reconcile as _};
use drover_controller::records::{
    Cause, FiringRecord, HostRecord, MaintenancePhase, MaintenanceRecord, Measure, OperationRecord,
    PlanRecord, PlanState,
};
use drover_lifecycle::{Failure, FailureKind, Migration, MigrationState};
use drover_model::{
    Epoch, HostState, Metric, MigrationSettings, OperationId, OwnerPhase, OwnerRecord, PlanId,
    RuleId,
};
use drover_planner::{Plan, PlanReport, PlannedMove};
use drover_ports::Clock as _;
use drover_rules::{HostFiring, Move};
use drover_testkit::{guest_id, host, host_id};
use serde_json::json;

use crate::agents::{Says, connect};
use crate::balance::{arrive, uneven};
use crate::drain::Cluster;
use crate::world::World;

pub(crate) fn advance(world: &World) -> AdvancePlans {
    AdvancePlans {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        engine: world.engine.clone(),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: world.api.sample_interval,
    }
}

fn follow(world: &World) -> FollowPlans {
    FollowPlans {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: world.api.sample_interval,
    }
}

/// What the event log has of one kind.
async fn told(world: &World, kind: &str) -> Vec<String> {
    let events = world.api.events.query(&EventQuery::default()).await.unwrap();
    events.into_iter().filter(|event| event.kind == kind).map(|event| event.message).collect()
}

/// A plan that somebody applied, six moves in batches of two; its first batch has arrived.
async fn half_way() -> World {
    let (world, _) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), Says::default());
    let token = world.token(Role::Operator).await;
    let wanted = json!({"goal": {"for": "drain", "hosts": ["h1"]}});
    let (_, plan) = world.call("POST", "/v1/plans/preview", Some(&token), Some(wanted)).await;
    let path = format!("/v1/plans/{}/apply", plan["id"].as_str().unwrap());
    let (status, applied) = world.call("POST", &path, Some(&token), Some(json!({}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{applied}");
    arrive(&world).await;
    world
}

fn only_plan(world: &World) -> PlanRecord {
    world.records.read().plans.iter().next().unwrap().clone()
}

#[tokio::test]
async fn a_plan_all_of_whose_batches_were_made_is_done_and_nothing_waits() {
    let world = half_way().await;
    for _ in 0..3 {
        advance(&world).reconcile().await.unwrap();
        follow(&world).reconcile().await.unwrap();
        arrive(&world).await;
    }
    follow(&world).reconcile().await.unwrap();
    let plan = only_plan(&world);
    assert_eq!((plan.state, plan.operations.len()), (PlanState::Done, 6));
    assert_eq!(told(&world, "plan.closed").await, ["plan of request of Operator: done"]);
}

/// The state of one move of the first batch.
#[derive(Clone, Copy)]
enum Came {
    Arrived,
    Failed,
    /// To a host that is unreachable.
    Waits,
}

#[tokio::test]
async fn what_is_said_of_a_plan_that_ends_counts_its_moves() {
    use Came::{Arrived, Failed, Waits};
    let rule = || Cause::Rule { id: RuleId::from_u128(1), name: "hot".to_owned() };
    let request = || Cause::Request { who: "ann".to_owned() };
    let drain = || Cause::Drain { host: host_id(1), name: "h1".to_owned() };
    for (cause, begun, left, expected) in [
        (rule(), &[Arrived, Arrived][..], 0, "plan of rule hot: done"),
        (
            rule(),
            &[Arrived, Arrived],
            3,
            "plan of rule hot: done; 3 more move(s) wait for fresh measurements",
        ),
        (
            drain(),
            &[Arrived],
            1,
            "plan of drain of h1: done; 1 more move(s) wait for fresh measurements",
        ),
        (request(), &[Arrived, Arrived], 0, "plan of request of ann: done"),
        (
            request(),
            &[Failed, Failed],
            0,
            "plan of request of ann: not all of its moves were made: 2 failed",
        ),
        (
            request(),
            &[Arrived, Failed],
            4,
            "plan of request of ann: not all of its moves were made: 1 made, 1 failed, \
             4 not begun",
        ),
        (
            rule(),
            &[Arrived, Waits, Failed],
            2,
            "plan of rule hot: not all of its moves were made: 1 made, 1 failed, 1 held up by a \
             host that is unreachable, 2 not begun",
        ),
    ] {
        let world = World::new().await;
        ended(&world, cause, begun, left).await;
        follow(&world).reconcile().await.unwrap();
        assert_eq!(told(&world, "plan.closed").await, [expected]);
    }
}

/// Stores a plan whose first batch came out so, and another of so many moves.
async fn ended(world: &World, cause: Cause, begun: &[Came], left: usize) {
    let now = world.clock.now();
    let id = PlanId::from_u128(1);
    let step = |n: usize| {
        let guest = guest_id(u128::try_from(n).unwrap());
        let step = Move { guest, from: host_id(1), to: host_id(2) };
        PlannedMove {
            step,
            bytes: 1 << 30,
            why_guest: String::new(),
            why_host: String::new(),
            metric: Metric::CpuUsageActive,
            from: (80.0, 70.0),
            to: (10.0, 20.0),
            gain: None,
            seconds: 1.0,
        }
    };
    let batches = vec![
        (0..begun.len()).map(step).collect(),
        (begun.len()..begun.len() + left).map(step).collect(),
    ];
    let begun = (0..).zip(begun).map(|(n, came)| operation(n, *came, &cause, id, now));
    let operations: Vec<OperationRecord> = begun.collect();
    let plan = PlanRecord {
        id,
        at: now,
        cause,
        state: PlanState::Running,
        plan: Plan { batches },
        report: PlanReport::default(),
        settings: MigrationSettings::default(),
        operations: operations.iter().map(|of| of.migration.operation).collect(),
        measure: None,
    };
    let lost = drover_model::Host { state: HostState::Unreachable, ..host(2, 4.0, 16) };
    world
        .update(|txn| {
            txn.put(HostRecord { host: lost, disturbed: None });
            txn.put(plan);
            operations.into_iter().for_each(|one| txn.put(one));
        })
        .await;
}

fn operation(
    n: u128,
    came: Came,
    cause: &Cause,
    plan: PlanId,
    now: drover_model::Timestamp,
) -> OperationRecord {
    let owner = OwnerRecord {
        guest: guest_id(n),
        host: host_id(1),
        epoch: Epoch(1),
        phase: OwnerPhase::Settled,
    };
    let id = OperationId::from_u128(n + 1);
    let mut migration = Migration::new(id, owner, host_id(2), MigrationSettings::default());
    let cause_of_failure = Failure { kind: FailureKind::Broken, message: "cut".to_owned() };
    migration.state = match came {
        Came::Arrived => MigrationState::Completed { outcome: None },
        Came::Failed => MigrationState::Failed { cause: cause_of_failure, guest_lost: false },
        Came::Waits => MigrationState::CleaningUp { cause: cause_of_failure },
    };
    OperationRecord {
        migration,
        cause: cause.clone(),
        plan,
        created: now,
        timeline: vec![],
        notes: vec![],
        forecast: None,
    }
}

#[tokio::test]
async fn a_plan_that_is_closed_while_its_next_batch_is_audited_stays_closed() {
    let world = half_way().await;
    let id = only_plan(&world).id;
    world.history.change(&world.records, move |tables, txn| {
        let plan = tables.plans.get(id).unwrap().clone();
        txn.put(PlanRecord { state: PlanState::Failed, ..plan });
    });
    advance(&world).reconcile().await.unwrap();
    assert!(world.history.was_asked());
    let plan = only_plan(&world);
    assert_eq!((plan.state, plan.operations.len()), (PlanState::Failed, 2));
    assert_eq!(world.records.read().operations.len(), 2, "nothing begins for it");
}

#[tokio::test]
async fn a_plan_that_is_closed_while_it_is_found_to_hold_no_longer_is_not_stopped_besides() {
    let world = half_way().await;
    let id = only_plan(&world).id;
    let token = world.token(Role::Operator).await;
    let names: Vec<String> = (1..=6).map(|n| format!("vm{n}")).collect();
    let pin = json!({"name": "stay", "kind": "not-on", "hosts": ["h2"], "guests": names});
    world.history.change(&world.records, move |tables, txn| {
        let plan = tables.plans.get(id).unwrap().clone();
        txn.put(PlanRecord { state: PlanState::Done, ..plan });
    });
    let (status, made) = world.call("POST", "/v1/placement-rules", Some(&token), Some(pin)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert!(!world.history.was_asked(), "whoever advances plans is to be met");
    advance(&world).reconcile().await.unwrap();
    assert!(world.history.was_asked());
    assert_eq!(only_plan(&world).state, PlanState::Done);
    assert_eq!(told(&world, "plan.stopped").await, [""; 0]);
}

#[tokio::test]
async fn a_plan_that_is_deleted_while_its_outcome_is_measured_does_not_come_back() {
    let world = World::new().await;
    let cause = Cause::Request { who: "ann".to_owned() };
    ended(&world, cause, &[Came::Arrived], 0).await;
    let due = world.clock.now();
    let id = only_plan(&world).id;
    let measure = Measure {
        due,
        metric: Metric::CpuUsageActive,
        period_ms: 10_000,
        expected: BTreeMap::new(),
    };
    let plan = PlanRecord { state: PlanState::Done, measure: Some(measure), ..only_plan(&world) };
    world.update(|txn| txn.put(plan)).await;
    world.history.change(&world.records, move |_, txn| txn.delete_plan(id));
    follow(&world).reconcile().await.unwrap();
    assert!(world.history.was_asked());
    assert_eq!(world.records.read().plans.len(), 0);
}

#[tokio::test]
async fn what_was_counted_under_a_rules_old_condition_does_not_count_under_its_new_one() {
    let (world, _) = uneven().await;
    let token = world.token(Role::Operator).await;
    let spec = json!({"name": "hot", "spec": {
        "condition": "cpu.usage_active > 60", "period": "60s", "dry_run": true}});
    let (status, made) = world.call("POST", "/v1/rules", Some(&token), Some(spec)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let rule = world.records.read().rules.iter().next().unwrap().clone();
    let evaluate = || EvaluateRules {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        engine: world.engine.clone(),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: world.api.sample_interval,
        said: Mutex::default(),
        unwakeable: Mutex::default(),
    };
    let firing = || world.records.read().firings.iter().cloned().collect::<Vec<FiringRecord>>();
    let changed = drover_rules::Rule {
        condition: drover_rules::Condition { threshold: 90.0, ..rule.condition },
        ..rule.clone()
    };
    world.history.change(&world.records, |_, txn| txn.put(changed));
    evaluate().reconcile().await.unwrap();
    assert!(world.history.was_asked());
    assert_eq!(firing(), []);
    world.update(|txn| txn.put(rule)).await;
    evaluate().reconcile().await.unwrap();
    let is_told = |of: &FiringRecord| matches!(of.hosts[&host_id(1)], HostFiring::Firing { .. });
    assert!(firing().len() == 1 && is_told(&firing()[0]), "{:?}", firing());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_drained_by_another_hand_while_moves_are_searched_is_not_drained_over() {
    let cluster = Cluster::new(3, 2).await;
    let world = &cluster.world;
    let other = MaintenanceRecord {
        initiative: drover_rules::Initiative::Request,
        host: host_id(1),
        phase: MaintenancePhase::Draining,
        who: "policy power".to_owned(),
        begun: world.clock.now().minus(Duration::from_secs(1)),
        drained: None,
        to_labels: BTreeMap::new(),
        settings: MigrationSettings::default(),
        guests: 2,
        hanging: vec![],
    };
    let stored = other.clone();
    world.history.change(&world.records, |_, txn| txn.put(stored));
    let (status, answer) = cluster.drain(json!({})).await;
    assert_eq!((status, &answer["kind"]), (StatusCode::CONFLICT, &"conflict".into()), "{answer}");
    let kept = world.records.read().maintenance.get(host_id(1)).cloned();
    assert_eq!(kept, Some(other));
    let (status, _) = cluster.drain(json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "whoever has seen it may");
}
