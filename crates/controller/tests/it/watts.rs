//! Rules on watts, learned power curves, and the energy report.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use drover_api::v1::{EventQuery, Role};
use drover_controller::reconcile::{EvaluateRules, LearnPowerLines, Reconcile};
use drover_controller::records::{GuestRecord, HostRecord, ParkedRecord};
use drover_model::{Epoch, LineBasis, Metric, OwnerPhase, OwnerRecord, PowerSource, Timestamp};
use drover_ports::{Clock, Entity, SamplePoint};
use drover_testkit::{guest, guest_id, host, host_id};
use serde_json::{Value, json};

use crate::world::World;

const EVERY: Duration = Duration::from_secs(5);

/// h1 with vm1 and vm2, and h2; h1's power is an estimate.
async fn two() -> World {
    let world = World::new().await;
    world
        .update(|txn| {
            for n in [1, 2] {
                let mut host = host(n, 16.0, 64);
                let source = if n == 1 { PowerSource::Model } else { PowerSource::Ipmi };
                host.capabilities.power_sources = vec![source];
                txn.put(HostRecord { host, disturbed: None });
            }
            for n in [1, 2] {
                txn.put(GuestRecord { guest: guest(n, 1, 1024), last_moved: None, absent: false });
                txn.put(OwnerRecord {
                    guest: guest_id(n),
                    host: host_id(1),
                    epoch: Epoch(1),
                    phase: OwnerPhase::Settled,
                });
            }
        })
        .await;
    world
}

fn of_host(n: u128, at: Timestamp, cpu: f64, watts: f64) -> SamplePoint {
    let free = 40.0 * f64::from(1 << 30);
    let values = vec![
        (Metric::CpuUsageActive, cpu),
        (Metric::MemAvailable, free),
        (Metric::PowerWatts, watts),
    ];
    SamplePoint { entity: Entity::Host(host_id(n)), at, values }
}

/// The last two minutes: h1 draws 300 W at 62.5 %, h2 68 W at 5 %.
async fn measure(world: &World) {
    let now = world.clock.now();
    let mut points = Vec::new();
    for step in 0..24 {
        let at = now.minus(EVERY * step);
        points.push(of_host(1, at, 62.5, 300.0));
        points.push(of_host(2, at, 5.0, 68.0));
        for (n, cores) in [(1, 4.0), (2, 1.0)] {
            let gib = f64::from(1 << 30);
            let values = vec![(Metric::GuestCpuCores, cores), (Metric::GuestResident, gib)];
            points.push(SamplePoint { entity: Entity::Guest(guest_id(n)), at, values });
        }
    }
    world.api.history.append(points).await.unwrap();
}

fn evaluation(world: &World) -> EvaluateRules {
    EvaluateRules {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        engine: world.engine.clone(),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: EVERY,
        said: Mutex::default(),
        unwakeable: Mutex::default(),
    }
}

fn learning(world: &World) -> LearnPowerLines {
    LearnPowerLines {
        records: Arc::clone(&world.records),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        next: Mutex::default(),
    }
}

async fn create(world: &World, condition: &str) -> (StatusCode, Value) {
    let token = world.token(Role::Operator).await;
    let spec = json!({
        "condition": condition, "period": "1m", "source_hosts": ["h1"], "target_hosts": ["h2"],
        "wake": true,
    });
    let body = json!({ "name": "hot", "spec": spec });
    world.call("POST", "/v1/rules", Some(&token), Some(body)).await
}

async fn messages(world: &World, kind: &str) -> Vec<String> {
    let events = world.api.events.query(&EventQuery::default()).await.unwrap();
    events.into_iter().filter(|event| event.kind == kind).map(|event| event.message).collect()
}

/// Half an hour of minutes in which the host was ever busier: 100 W at rest, 320 W in all.
async fn busier_and_busier(world: &World, n: u128) {
    let begin = world.clock.now();
    let mut points = Vec::new();
    for step in 0..30 * 12 {
        let cpu = f64::from(step / 12) * 3.0;
        points.push(of_host(n, begin.plus(EVERY * step), cpu, 100.0 + 2.2 * cpu));
    }
    world.api.history.append(points).await.unwrap();
    world.clock.advance(EVERY * (30 * 12));
}

#[tokio::test]
async fn a_rule_on_watts_moves_a_guest_that_takes_enough_with_it() {
    let world = two().await;
    let (status, rule) = create(&world, "power.watts > 250").await;
    assert_eq!(status, StatusCode::CREATED, "{rule}");
    assert_eq!(rule["spec"]["condition"], "power.watts > 250");
    assert_eq!((&rule["clear_value"], &rule["spec"]["wake"]), (&json!(225.0), &json!(true)));
    measure(&world).await;
    evaluation(&world).reconcile().await.unwrap();
    let plan = world.records.read().plans.iter().next().cloned().expect("a plan");
    let step = plan.plan.moves().next().unwrap();
    // Nothing is learned yet: 300 W at 62.5 % have the usual shape of 370 W in all, 185 at
    // rest and 11.5 W for each of 16 cores. Both guests together are not enough.
    assert_eq!((step.step.guest, step.metric), (guest_id(1), Metric::PowerWatts));
    assert!((step.from.0 - 300.0).abs() < 1e-9 && (step.from.1 - 253.8).abs() < 0.1, "{step:?}");
    let said = messages(&world, "rule.fired").await;
    assert!(said[0].contains("300.0 W by estimate over 60 s"), "{said:?}");
    assert!(plan.report.hosts[0].estimate && plan.report.summary.contains("by estimate"));
    assert!(messages(&world, "rule.wakes").await.is_empty(), "somebody takes the guests");
}

#[tokio::test]
async fn the_test_of_a_rule_says_what_is_an_estimate_and_who_would_be_woken() {
    let world = two().await;
    create(&world, "power.watts > 70").await;
    measure(&world).await;
    let token = world.token(Role::Viewer).await;
    let (_, test) = world.call("POST", "/v1/rules/hot/test", Some(&token), None).await;
    assert_eq!(test["hosts"][0]["shown"], "300.0 W by estimate");
    assert_eq!(test["hosts"][0]["estimate"], true);
    assert_eq!(test["would_fire"], true);
    assert_eq!(test["wake"], "it would wake nobody: no target host is parked");
    let refused = test["plan"]["report"]["refused"].to_string();
    assert!(refused.contains("h2 would go from 68.0 W"), "{refused}");
}

#[tokio::test]
async fn a_line_is_learned_kept_and_shown() {
    let world = two().await;
    busier_and_busier(&world, 2).await;
    learning(&world).reconcile().await.unwrap();
    let kept = world.restarted().await;
    let line = kept.records.read().power_lines.get(host_id(2)).unwrap().lines[&Metric::PowerWatts];
    assert!(matches!(line.basis, LineBasis::Learned { points: 30, .. }), "{line:?}");
    assert!((line.idle - 100.0).abs() < 0.5 && (line.full - 320.0).abs() < 0.5, "{line:?}");
    assert!(kept.records.read().power_lines.get(host_id(1)).is_none(), "h1 has no history");
    let token = world.token(Role::Viewer).await;
    let curve = |path: &'static str| world.call("GET", path, Some(&token), None);
    let (status, told) = curve("/v1/hosts/h2/power-curve").await;
    assert_eq!((status, &told["basis"]), (StatusCode::OK, &json!("learned")), "{told}");
    assert_eq!((&told["moments"], &told["resolution"]), (&json!(30), &json!("1m")));
    assert!((told["watts_per_core"].as_f64().unwrap() - 13.75).abs() < 0.1, "{told}");
    assert_eq!(told["measured"].as_array().unwrap().len(), 30);
    let (_, told) = curve("/v1/hosts/h1/power-curve").await;
    assert_eq!((&told["basis"], &told["estimate"]), (&json!("default"), &json!(true)), "{told}");
    assert!(told["why_not_learned"].as_str().unwrap().contains("only 0 moments"), "{told}");
    let (status, told) = curve("/v1/hosts/h2/power-curve?metric=mem.available").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{told}");
}

#[tokio::test]
async fn what_was_learned_of_a_host_outlives_its_history_and_goes_with_it() {
    let world = two().await;
    busier_and_busier(&world, 2).await;
    let learning = learning(&world);
    learning.reconcile().await.unwrap();
    world.clock.advance(Duration::from_secs(40 * 86_400));
    learning.reconcile().await.unwrap();
    assert!(world.records.read().power_lines.get(host_id(2)).is_some());
    let token = world.token(Role::Admin).await;
    let (status, why) = world.call("DELETE", "/v1/hosts/h2", Some(&token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{why}");
    assert!(world.records.read().power_lines.get(host_id(2)).is_none());
}

#[tokio::test]
async fn the_report_counts_what_was_measured_saved_and_not_known() {
    let world = two().await;
    busier_and_busier(&world, 2).await;
    learning(&world).reconcile().await.unwrap();
    let (begin, hour) = (world.clock.now(), Duration::from_secs(3600));
    let parked = ParkedRecord { host: host_id(2), spans: vec![(begin, Some(begin.plus(hour)))] };
    world.update(|txn| txn.put(parked)).await;
    world.clock.advance(hour);
    let token = world.token(Role::Viewer).await;
    let ask = |query: &'static str| world.call("GET", query, Some(&token), None);
    let (status, told) = ask("/v1/power/report?days=2&co2=400").await;
    assert_eq!(status, StatusCode::OK, "{told}");
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    // 30 minutes at 195.7 W in the mean, and an hour at 100 W that was not drawn.
    assert!((number(&told["total"]["kwh"]) - 0.098).abs() < 0.002, "{told}");
    assert!((number(&told["total"]["saved_kwh"]) - 0.1).abs() < 0.001, "{told}");
    assert!((number(&told["total"]["co2_kg"]) - 0.039).abs() < 0.001, "{told}");
    let (h1, h2) = (&told["hosts"][0], &told["hosts"][1]);
    assert_eq!(
        (&h1["kwh"], &h1["saved_kwh"], &h1["estimate"]),
        (&json!(0.0), &Value::Null, &json!(true))
    );
    assert!((number(&h2["parked_hours"]) - 1.0).abs() < 0.01, "{h2}");
    assert!((number(&h2["measured_hours"]) - 0.5).abs() < 0.01, "{h2}");
    assert_eq!(told["days"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&told["resolution"], &told["months"][0]["date"]),
        (&json!("5m"), &json!("2027-01"))
    );
    let (_, of_one) = ask("/v1/power/report?host=h1&days=40").await;
    assert_eq!(
        (of_one["hosts"].as_array().unwrap().len(), &of_one["resolution"]),
        (1, &json!("1h"))
    );
    for wrong in ["days=0", "days=400", "co2=-1", "host=h9"] {
        let (status, _) =
            world.call("GET", &format!("/v1/power/report?{wrong}"), Some(&token), None).await;
        assert!(status.is_client_error(), "{wrong}");
    }
}
