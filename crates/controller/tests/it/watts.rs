//! Rules on watts, learned power curves, and the energy report.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use drover_api::v1::{EventQuery, Role};
use drover_controller::reconcile::{
    EvaluateRules, KeepPowerCaps, LearnPowerLines, NoteParked, Reconcile,
};
use drover_controller::records::{
    Cause, GuestRecord, HostRecord, MaintenancePhase, MaintenanceRecord, ParkedRecord, PolicyName,
    PowerOutcome, PowerPhase, PowerRecord,
};
use drover_lifecycle::power::{OffProof, WakeFailure};
use drover_model::{
    Epoch, HostState, LineBasis, Metric, MigrationSettings, OwnerPhase, OwnerRecord, PowerSource,
    Timestamp,
};
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
    create_to(world, condition, &["h2"]).await
}

async fn create_to(world: &World, condition: &str, targets: &[&str]) -> (StatusCode, Value) {
    let token = world.token(Role::Operator).await;
    let spec = json!({
        "condition": condition, "period": "1m", "source_hosts": ["h1"], "target_hosts": targets,
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
    assert!(number(&h2["gap_hours"]) < 0.1, "before its first sample it was not there: {h2}");
    assert!(number(&h1["gap_hours"]) > 24.0, "of h1 nothing is known: {h1}");
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

#[tokio::test]
async fn what_a_host_saves_whose_curve_is_not_learned_is_an_estimate_and_says_so() {
    let world = two().await;
    measure(&world).await;
    // What is drawn in the bucket in which it falls asleep counts as drawn on standby.
    world.clock.advance(Duration::from_secs(600));
    let (begin, hour) = (world.clock.now(), Duration::from_secs(3600));
    let parked = ParkedRecord { host: host_id(2), spans: vec![(begin, Some(begin.plus(hour)))] };
    world.update(|txn| txn.put(parked)).await;
    world.clock.advance(hour);
    let token = world.token(Role::Viewer).await;
    let (_, told) = world.call("GET", "/v1/power/report?days=2", Some(&token), None).await;
    let (_, curve) = world.call("GET", "/v1/hosts/h2/power-curve", Some(&token), None).await;
    assert_eq!(curve["basis"], "scaled", "{curve}");
    let saved = |of: &Value| of["saved_kwh"].as_f64().unwrap();
    let idle_kwh = curve["idle_watts"].as_f64().unwrap() / 1000.0;
    let (h1, h2) = (&told["hosts"][0], &told["hosts"][1]);
    assert!((saved(h2) - idle_kwh).abs() < 1e-6 && saved(h2) > 0.03, "{h2}");
    assert_eq!(saved(&told["total"]), saved(h2));
    for (of, expected) in [(h1, false), (h2, true), (&told["total"], true)] {
        assert_eq!(of["saved_is_estimate"], expected, "{of}");
    }
    assert_eq!((&h1["saved_kwh"], &h2["idle_watts"]), (&Value::Null, &Value::Null));
}

/// Host `hN` that was drained and switched off an hour ago, by its own card to be woken.
async fn parked(world: &World, n: u128) {
    let begun = world.clock.now().minus(Duration::from_secs(3600));
    let mut off = host(n, 16.0, 64);
    off.state = HostState::Unreachable;
    let mut power = PowerRecord::new(host_id(n), begun);
    power.settings.macs = vec!["52:54:00:00:00:01".parse().unwrap()];
    power.phase = PowerPhase::Parked(OffProof::Silence);
    power.drain = Some(begun);
    let drain = MaintenanceRecord {
        host: host_id(n),
        phase: MaintenancePhase::Drained,
        who: "park".to_owned(),
        initiative: Default::default(),
        begun,
        drained: Some(begun),
        to_labels: Default::default(),
        settings: MigrationSettings::default(),
        guests: 0,
        hanging: vec![],
    };
    world
        .update(|txn| {
            txn.put(HostRecord { host: off, disturbed: None });
            txn.put(power);
            txn.put(drain);
        })
        .await;
}

fn phase(world: &World, n: u128) -> &'static str {
    world.records.read().power.get(host_id(n)).map_or("none", |record| record.phase.as_str())
}

async fn set_phase(world: &World, n: u128, phase: PowerPhase) {
    let now = world.clock.now();
    world
        .update_with(|tables, txn| {
            let before = tables.power.get(host_id(n)).unwrap().clone();
            txn.put(PowerRecord { phase, since: now, ..before });
        })
        .await;
}

#[tokio::test]
async fn a_rule_wakes_a_parked_host_and_the_next_one_when_that_fails() {
    let world = two().await;
    parked(&world, 3).await;
    parked(&world, 4).await;
    create_to(&world, "power.watts > 250", &["h3", "h4"]).await;
    measure(&world).await;
    let token = world.token(Role::Viewer).await;
    let (_, test) = world.call("POST", "/v1/rules/hot/test", Some(&token), None).await;
    assert_eq!(test["wake"], "it would wake h3: it would take 2 guests");
    let (rules, noting) = (
        evaluation(&world),
        NoteParked { records: Arc::clone(&world.records), clock: world.clock.clone() },
    );
    noting.reconcile().await.unwrap();
    for _ in 0..2 {
        rules.reconcile().await.unwrap();
        assert_eq!((phase(&world, 3), phase(&world, 4)), ("waking", "parked"));
    }
    let by_rule = |cause: &Cause| matches!(cause, Cause::Rule { name, .. } if name == "hot");
    let cause = world.records.read().power.get(host_id(3)).unwrap().cause.clone();
    assert!(cause.as_ref().is_some_and(by_rule), "{cause:?}");
    assert_eq!(messages(&world, "rule.waiting").await, ["rule hot waits: h3 is being woken"]);
    world.clock.advance(EVERY);
    set_phase(&world, 3, PowerPhase::WakeFailed(WakeFailure::NoAgent)).await;
    measure(&world).await;
    rules.reconcile().await.unwrap();
    assert_eq!((phase(&world, 3), phase(&world, 4)), ("wake-failed", "waking"));
    let said = messages(&world, "rule.wakes").await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].contains("rule hot wakes h4"), "{said:?}");
    noting.reconcile().await.unwrap();
    let spans = world.records.read().parked.get(host_id(3)).unwrap().spans.clone();
    assert!(spans.len() == 1 && spans[0].1.is_some(), "{spans:?}");
}

#[tokio::test]
async fn a_rule_waits_for_the_host_that_it_woke_and_then_says_that_there_is_no_plan() {
    let world = two().await;
    parked(&world, 3).await;
    create_to(&world, "power.watts > 250", &["h3"]).await;
    measure(&world).await;
    let rules = evaluation(&world);
    rules.reconcile().await.unwrap();
    assert_eq!(phase(&world, 3), "waking");
    // It is awake, by its record; that it is online and what it draws comes later, or never.
    let now = world.clock.now();
    world
        .update_with(|tables, txn| {
            let mut record = tables.power.get(host_id(3)).unwrap().clone();
            record.phase = PowerPhase::Settled;
            (record.since, record.drain) = (now, None);
            record.last_wake =
                Some(PowerOutcome { at: now, took_ms: 60_000, failure: None, proof: None });
            txn.put(record);
            txn.delete_maintenance_if(tables, host_id(3));
        })
        .await;
    for _ in 0..23 {
        world.clock.advance(EVERY);
        measure(&world).await;
        rules.reconcile().await.unwrap();
        assert_eq!(messages(&world, "rule.no_plan").await, [""; 0]);
    }
    let waits = messages(&world, "rule.waiting").await;
    assert_eq!(waits, ["rule hot waits: h3 is not measured for long enough"], "once");
    world.clock.advance(EVERY);
    measure(&world).await;
    rules.reconcile().await.unwrap();
    assert_eq!(messages(&world, "rule.no_plan").await.len(), 1, "not for ever");
}

#[tokio::test]
async fn a_host_that_cannot_be_woken_is_said_once_and_passed_over() {
    let world = two().await;
    parked(&world, 3).await;
    let mute = |record: &PowerRecord| {
        let mut record = record.clone();
        record.settings.macs.clear();
        record
    };
    world.update_with(|tables, txn| txn.put(mute(tables.power.get(host_id(3)).unwrap()))).await;
    create_to(&world, "power.watts > 250", &["h3"]).await;
    measure(&world).await;
    let rules = evaluation(&world);
    for _ in 0..3 {
        rules.reconcile().await.unwrap();
    }
    assert_eq!(phase(&world, 3), "parked");
    let said = messages(&world, "rule.wakes").await;
    assert!(said.len() == 1 && said[0].contains("no way to wake h3 is known"), "{said:?}");
    assert_eq!(messages(&world, "rule.no_plan").await.len(), 1);
}

async fn cap(world: &World, watts: f64) -> (StatusCode, Value) {
    let token = world.token(Role::Operator).await;
    let racks = [("h1", "1"), ("h2", "2")];
    for (host, rack) in racks {
        let body = json!({ "labels": { "rack": rack } });
        let path = format!("/v1/hosts/{host}/labels");
        let (status, why) = world.call("PATCH", &path, Some(&token), Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{why}");
    }
    let body = json!({ "hosts": ["label=rack:1"], "watts": watts });
    world.call("PUT", "/v1/policies/power-caps/rack1", Some(&token), Some(body)).await
}

fn keeping(world: &World) -> KeepPowerCaps {
    KeepPowerCaps {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        engine: world.engine.clone(),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        sample_interval: EVERY,
        said: Mutex::default(),
    }
}

#[tokio::test]
async fn a_group_above_its_cap_sends_guests_out_of_it() {
    let world = two().await;
    let (status, told) = cap(&world, 295.0).await;
    assert_eq!((status, &told["members"]), (StatusCode::OK, &json!(["h1"])), "{told}");
    keeping(&world).reconcile().await.unwrap();
    assert_eq!(messages(&world, "power_cap.unknown").await.len(), 1, "nothing is measured");
    measure(&world).await;
    keeping(&world).reconcile().await.unwrap();
    let plan = world.records.read().plans.iter().next().cloned().expect("a plan");
    assert_eq!(plan.cause, Cause::Policy { name: PolicyName::PowerCap });
    let step = plan.plan.moves().next().unwrap().step;
    // 19.75 W are too much for 95 % of the cap: vm2 gives 11.5 W, vm1 46 W.
    assert_eq!((step.guest, step.to), (guest_id(1), host_id(2)));
    let said = messages(&world, "power_cap.exceeded").await;
    assert!(said[0].contains("draw 300.0 W of at most 295.0 W"), "{said:?}");
    let token = world.token(Role::Operator).await;
    let (_, policies) = world.call("GET", "/v1/policies", Some(&token), None).await;
    assert_eq!(policies["power_caps"][0]["name"], "rack1");
    let path = "/v1/policies/power-caps/rack1";
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(world.call("DELETE", path, Some(&token), None).await.0, status);
    }
    for (body, status) in [
        (json!({ "hosts": ["h9"], "watts": 1.0 }), StatusCode::NOT_FOUND),
        (json!({ "hosts": ["label=rack"], "watts": 1.0 }), StatusCode::BAD_REQUEST),
        (json!({ "hosts": ["h1"], "watts": 0.0 }), StatusCode::BAD_REQUEST),
        (json!({ "hosts": [], "watts": 1.0 }), StatusCode::BAD_REQUEST),
    ] {
        let (found, why) = world.call("PUT", path, Some(&token), Some(body)).await;
        assert_eq!(found, status, "{why}");
    }
}

#[tokio::test]
async fn a_cap_stands_against_a_request_too() {
    let world = two().await;
    let token = world.token(Role::Operator).await;
    let body = json!({ "hosts": ["h2"], "watts": 80.0 });
    world.call("PUT", "/v1/policies/power-caps/small", Some(&token), Some(body)).await;
    measure(&world).await;
    let body = json!({ "to": "h2" });
    let (status, why) =
        world.call("POST", "/v1/guests/vm1/migrate", Some(&token), Some(body)).await;
    assert!(status.is_client_error(), "{why}");
    let text = why.to_string();
    assert!(text.contains("the hosts of `small` would draw"), "{text}");
}
