//! The balance policy: when it acts, what it may take, and what it says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use drover_api::v1::EventQuery;
use drover_controller::churn;
use drover_controller::reconcile::balance::{BalanceCluster, Last, why_wait};
use drover_controller::reconcile::{AdvancePlans, FollowPlans, Reconcile};
use drover_controller::records::{
    BalanceRecord, Cause, FiringRecord, GuestRecord, HostRecord, OperationRecord, PlanRecord,
    PlanState, PolicyName,
};
use drover_lifecycle::{Failure, FailureKind, Migration, MigrationState};
use drover_model::{
    Epoch, Metric, MigrationSettings, OperationId, OwnerPhase, OwnerRecord, PlanId, RuleId,
    Timestamp,
};
use drover_planner::{Level, Plan, PlanReport};
use drover_ports::{Clock, Entity, SamplePoint};
use drover_rules::HostFiring;
use drover_testkit::{guest, guest_id, host, host_id};

use crate::agents::{Says, connect};
use crate::world::World;

const INTERVAL: Duration = Duration::from_secs(60);
const HOLD: Duration = Duration::from_secs(600);

pub(crate) fn policy(level: Level) -> BalanceRecord {
    BalanceRecord {
        level,
        interval: INTERVAL,
        hold: HOLD,
        max_moves: 4,
        moves_per_guest_per_hour: 2,
        moves_per_hour: 3,
        horizon: Duration::from_secs(3600),
        set: Timestamp::EPOCH,
    }
}

/// A move of guest `n` that was begun and finished so long ago.
fn moved(n: u128, now: Timestamp, ago: Duration) -> OperationRecord {
    let at = now.minus(ago);
    let owner = owner(n, 1);
    let operation = OperationId::from_u128(n);
    let mut migration = Migration::new(operation, owner, host_id(2), MigrationSettings::default());
    migration.state = MigrationState::Completed { outcome: None };
    OperationRecord {
        migration,
        cause: Cause::Request { who: "test".to_owned() },
        plan: PlanId::from_u128(n),
        created: at,
        timeline: vec![("completed".to_owned(), at)],
        notes: Vec::new(),
        forecast: None,
    }
}

fn owner(n: u128, on: u128) -> OwnerRecord {
    OwnerRecord {
        guest: guest_id(n),
        host: host_id(on),
        epoch: Epoch(1),
        phase: OwnerPhase::Settled,
    }
}

/// h1 runs six guests of half a core each, h2 none; both measured for two intervals.
pub(crate) async fn uneven() -> (World, BalanceCluster) {
    let world = World::new().await;
    let now = world.clock.now();
    world
        .update(|txn| {
            for n in [1, 2] {
                txn.put(HostRecord { host: host(n, 4.0, 64), disturbed: None });
            }
            for n in 1..=6 {
                txn.put(GuestRecord { guest: guest(n, 1, 1024), last_moved: None, absent: false });
                txn.put(owner(n, 1));
            }
        })
        .await;
    measure(&world, now).await;
    let balance = BalanceCluster {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        engine: world.engine.clone(),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: world.api.sample_interval,
        last: Mutex::new(Last::default()),
    };
    (world, balance)
}

/// Samples of the last two intervals.
pub(crate) async fn measure(world: &World, now: Timestamp) {
    let gib = f64::from(1 << 30);
    let mut points = Vec::new();
    for step in 0..24 {
        let at = now.minus(Duration::from_secs(5) * step);
        for (n, cpu, free) in [(1, 76.0, 56.0), (2, 1.0, 62.0)] {
            let values = vec![(Metric::CpuUsageActive, cpu), (Metric::MemAvailable, free * gib)];
            points.push(SamplePoint { entity: Entity::Host(host_id(n)), at, values });
        }
        for n in 1..=6 {
            let values = vec![(Metric::GuestCpuCores, 0.5), (Metric::GuestResident, gib)];
            points.push(SamplePoint { entity: Entity::Guest(guest_id(n)), at, values });
        }
    }
    world.api.history.append(points).await.unwrap();
}

async fn kinds(world: &World, prefix: &str) -> Vec<String> {
    let events = world.api.events.query(&EventQuery::default()).await.unwrap();
    let kinds = events.into_iter().map(|event| event.kind);
    kinds.filter(|kind| kind.starts_with(prefix)).collect()
}

#[tokio::test]
async fn an_uneven_cluster_is_balanced_once_an_interval() {
    let (world, balance) = uneven().await;
    balance.reconcile().await.unwrap();
    assert_eq!(world.records.read().plans.len(), 0, "nothing without a policy");
    world.update(|txn| txn.put(policy(Level::Moderate))).await;
    balance.reconcile().await.unwrap();
    {
        let tables = world.records.read();
        let plan = tables.plans.iter().next().expect("a plan");
        assert_eq!(plan.cause, Cause::Policy { name: PolicyName::Balance });
        assert_eq!(plan.state, PlanState::Running);
        let moves = plan.plan.moves().count();
        assert!((1..=3).contains(&moves), "the budget of the hour is 3, not {moves}");
        assert!(plan.report.score.is_some_and(|score| score.after < score.before));
        assert!(!plan.operations.is_empty());
    }
    assert_eq!(kinds(&world, "balance.").await, ["balance.planned"]);
    balance.reconcile().await.unwrap();
    assert_eq!(world.records.read().plans.len(), 1, "the interval is not over");
    world.clock.advance(INTERVAL);
    balance.reconcile().await.unwrap();
    balance.reconcile().await.unwrap();
    assert_eq!(world.records.read().plans.len(), 1, "its plan is being carried out");
    assert_eq!(kinds(&world, "balance.").await, ["balance.planned", "balance.waiting"]);
}

#[tokio::test]
async fn a_calm_policy_moves_nothing_and_says_so_once() {
    let (world, balance) = uneven().await;
    world.update(|txn| txn.put(policy(Level::Conservative))).await;
    for _ in 0..3 {
        balance.reconcile().await.unwrap();
        world.clock.advance(INTERVAL);
        measure(&world, world.clock.now()).await;
    }
    assert_eq!(world.records.read().plans.len(), 0);
    assert_eq!(kinds(&world, "balance.").await, ["balance.idle"]);
}

#[tokio::test]
async fn nothing_is_planned_on_missing_measurements() {
    let (world, balance) = uneven().await;
    world.update(|txn| txn.put(policy(Level::Aggressive))).await;
    world.clock.advance(INTERVAL);
    balance.reconcile().await.unwrap();
    assert_eq!(world.records.read().plans.len(), 0);
    assert_eq!(kinds(&world, "balance.").await, ["balance.waiting"]);
}

#[tokio::test]
async fn the_churn_budget_counts_every_move_of_the_last_hour() {
    let world = World::new().await;
    let now = world.clock.now();
    let policy = policy(Level::Moderate);
    let minutes = |n: u64| Duration::from_secs(60 * n);
    assert_eq!(churn::left(&world.records.read(), &policy, now), 3, "less than max_moves");
    let two = [moved(1, now, minutes(59)), moved(2, now, minutes(20))];
    world
        .update(|txn| two.into_iter().chain([moved(3, now, minutes(61))]).for_each(|o| txn.put(o)))
        .await;
    let mut refused = moved(5, now, minutes(1));
    let (kind, message) = (FailureKind::Preflight, "no".to_owned());
    refused.migration.state =
        MigrationState::Failed { cause: Failure { kind, message }, guest_lost: false };
    world.update(|txn| txn.put(refused)).await;
    assert_eq!(churn::moves_of_last_hour(&world.records.read(), now), 2, "it moved nothing");
    assert_eq!(churn::last_move_ended(&world.records.read()), Some(now.minus(minutes(20))));
    assert_eq!(churn::left(&world.records.read(), &policy, now), 1);
    assert_eq!(why_wait(&world.records.read(), &policy, now), None);
    world.update(|txn| txn.put(moved(4, now, minutes(30)))).await;
    assert_eq!(churn::left(&world.records.read(), &policy, now), 0);
    let why = why_wait(&world.records.read(), &policy, now).unwrap();
    assert!(why.contains("3 moves of this hour"), "{why}");
    let later = now.plus(minutes(2));
    assert_eq!(churn::left(&world.records.read(), &policy, later), 1, "an hour has passed");
    assert_eq!(churn::rest(&policy), minutes(30), "two moves an hour are half an hour apart");
}

#[tokio::test]
async fn rules_plans_and_the_hold_come_first() {
    let world = World::new().await;
    let now = world.clock.now();
    let policy = policy(Level::Moderate);
    let waits = |at| why_wait(&world.records.read(), &policy, at);
    assert_eq!(waits(now), None);
    world.update(|txn| txn.put(moved(1, now, Duration::from_secs(10)))).await;
    assert!(waits(now).is_some_and(|why| why.contains("less than 10m ago")));
    assert_eq!(waits(now.plus(HOLD)), None);
    let token = world.token(drover_api::v1::Role::Operator).await;
    let spec = serde_json::json!({"name": "hot", "spec": {"condition": "cpu.usage_active > 60"}});
    world.call("POST", "/v1/rules", Some(&token), Some(spec)).await;
    let rule: RuleId = world.records.read().rules.iter().next().unwrap().id;
    let hosts = BTreeMap::from([(host_id(1), HostFiring::Firing { since: now })]);
    world.update(|txn| txn.put(FiringRecord { rule, hosts })).await;
    assert_eq!(waits(now.plus(HOLD)), Some("rule hot fires".to_owned()));
    let plan = PlanRecord {
        id: PlanId::from_u128(1),
        at: now,
        cause: Cause::Request { who: "ann".to_owned() },
        state: PlanState::Running,
        plan: Plan::default(),
        report: PlanReport::default(),
        settings: drover_model::MigrationSettings::default(),
        operations: vec![],
        measure: None,
    };
    world.update(|txn| txn.put(plan)).await;
    assert!(waits(now.plus(HOLD)).is_some_and(|why| why.contains("request of ann")));
}

#[tokio::test]
async fn a_plan_that_was_applied_goes_on_batch_by_batch_and_stops_when_it_no_longer_holds() {
    let (world, _) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), Says::default());
    let token = world.token(drover_api::v1::Role::Operator).await;
    let token = Some(token.as_str());
    let wanted = serde_json::json!({"goal": {"for": "drain", "hosts": ["h1"]}});
    let (_, plan) = world.call("POST", "/v1/plans/preview", token, Some(wanted)).await;
    let batches = plan["batches"].as_array().unwrap().len();
    assert_eq!(batches, 3, "six guests, two at a time: {plan}");
    let path = format!("/v1/plans/{}/apply", plan["id"].as_str().unwrap());
    let other = PlanRecord {
        state: PlanState::Running,
        ..world.records.read().plans.iter().next().unwrap().clone()
    };
    let other = PlanRecord { id: PlanId::from_u128(9), ..other };
    let body = || Some(serde_json::json!({}));
    world.update(|txn| txn.put(other.clone())).await;
    let (status, answer) = world.call("POST", &path, token, body()).await;
    assert_eq!((status, &answer["kind"]), (StatusCode::CONFLICT, &"conflict".into()), "{answer}");
    world.update(|txn| txn.delete_plan(other.id)).await;
    let (status, applied) = world.call("POST", &path, token, body()).await;
    assert_eq!(status, 202, "{applied}");
    assert_eq!(world.call("POST", &path, token, body()).await.0, StatusCode::CONFLICT, "twice");
    let advance = AdvancePlans {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        engine: world.engine.clone(),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: world.api.sample_interval,
    };
    let follow = FollowPlans {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: world.api.sample_interval,
    };
    let begun = || world.records.read().operations.len();
    let turn = async || {
        advance.reconcile().await.unwrap();
        follow.reconcile().await.unwrap();
    };
    turn().await;
    assert_eq!(begun(), 2, "the first batch is under way");
    arrive(&world).await;
    turn().await;
    assert_eq!(begun(), 4, "the second follows by itself");
    arrive(&world).await;
    let pin = serde_json::json!({"name": "stay", "kind": "on", "hosts": ["h1"], "guests":
        world.records.read().guests.iter().filter(|r| r.guest.host == host_id(1))
            .map(|r| r.guest.name.clone()).collect::<Vec<_>>()});
    world.call("POST", "/v1/placement-rules", token, Some(pin)).await;
    turn().await;
    assert_eq!(begun(), 4, "what is pinned meanwhile stays");
    let state = world.records.read().plans.iter().next().unwrap().state;
    assert_eq!(state, PlanState::Failed);
    assert_eq!(kinds(&world, "plan.stopped").await, ["plan.stopped"]);
}

/// All moves that are under way arrive.
pub(crate) async fn arrive(world: &World) {
    world
        .update_with(|tables, txn| {
            for operation in tables.operations.iter().filter(|o| !o.migration.state.is_finished()) {
                let mut done = operation.clone();
                done.migration.state = MigrationState::Completed { outcome: None };
                let guest = done.migration.guest;
                let mut record = tables.guests.get(guest).unwrap().clone();
                record.guest.host = done.migration.to;
                txn.put(record);
                txn.put(OwnerRecord {
                    guest,
                    host: done.migration.to,
                    epoch: Epoch(2),
                    phase: OwnerPhase::Settled,
                });
                txn.put(done);
            }
        })
        .await;
}

#[tokio::test]
async fn a_preview_shows_what_fewer_moves_achieve_and_fewer_can_be_applied() {
    let (world, _) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), Says::default());
    let token = world.token(drover_api::v1::Role::Operator).await;
    let token = Some(token.as_str());
    let preview = async |more: serde_json::Value| {
        let mut body = serde_json::json!({"goal": {"for": "balance", "level": 5}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, plan) = world.call("POST", "/v1/plans/preview", token, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{plan}");
        plan
    };
    let count = |plan: &serde_json::Value| {
        let batches = plan["batches"].as_array().unwrap().iter();
        batches.map(|batch| batch.as_array().unwrap().len()).sum::<usize>()
    };
    let plan = preview(serde_json::json!({})).await;
    assert!(count(&plan) > 1, "{plan}");
    let scores: Vec<f64> = plan["report"]["front"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["score"].as_f64().unwrap())
        .collect();
    assert_eq!(scores.len(), count(&plan));
    assert!(scores.is_sorted_by(|a, b| a > b), "each move improves it: {scores:?}");
    assert!(plan["batches"][0][0]["gain"].is_number(), "{plan}");
    assert_eq!(count(&preview(serde_json::json!({"max_moves": 1})).await), 1);
    let tight = preview(serde_json::json!({"threshold": 10.0})).await;
    assert_eq!(count(&tight), 0, "no host may come near 10 %: {tight}");
    let gone = preview(serde_json::json!({"without": ["h2"]})).await;
    assert_eq!(count(&gone), 0, "what is on h1 has nowhere else to be: {gone}");
    let path = format!("/v1/plans/{}/apply", plan["id"].as_str().unwrap());
    let one = Some(serde_json::json!({"max_moves": 1}));
    let (_, applied) = world.call("POST", &path, token, one).await;
    assert_eq!(count(&applied), 1, "{applied}");
    assert!(applied["report"]["summary"].as_str().unwrap().starts_with("the first 1 of "));
    assert_eq!(world.records.read().operations.len(), 1);
}

#[tokio::test]
async fn a_rule_s_plan_keeps_what_is_wished() {
    let (world, _) = uneven().await;
    let token = world.token(drover_api::v1::Role::Operator).await;
    let token = Some(token.as_str());
    let spec = serde_json::json!({"name": "hot", "spec": {
        "condition": "cpu.usage_active > 60", "period": "60s"}});
    world.call("POST", "/v1/rules", token, Some(spec)).await;
    let test = async || world.call("POST", "/v1/rules/hot/test", token, None).await.1;
    let free = test().await;
    assert_eq!(free["plan"]["state"], "proposed", "{free}");
    let names: Vec<String> = (1..=6).map(|n| format!("vm{n}")).collect();
    let pin = serde_json::json!({"name": "pin", "kind": "on", "guests": names, "hosts": ["h1"]});
    world.call("POST", "/v1/placement-rules", token, Some(pin)).await;
    let pinned = test().await;
    assert_eq!(pinned["plan"]["state"], "nothing-to-do", "{pinned}");
    let refused = pinned["plan"]["report"]["refused"].to_string();
    assert!(refused.contains("`pin` keeps it off h2"), "{refused}");
}
