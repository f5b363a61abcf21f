//! Parking: its proof, every refusal, what becomes of it when it fails, and the test of both.

use axum::http::StatusCode;
use drover_controller::records::{PowerPhase, PowerRecord};
use drover_model::{HostState, PowerState};
use drover_ports::memory::BmcFault;
use drover_testkit::host_id;
use serde_json::{Value, json};

use super::stage::{Quirk, Stage, address};

async fn park(stage: &Stage, n: u128, body: Value) -> (StatusCode, Value) {
    stage.call("POST", &format!("/v1/hosts/h{n}/park"), Some(body)).await
}

async fn reasons(stage: &Stage, n: u128, body: Value) -> Vec<(String, String)> {
    let mut dry = body;
    dry["dry_run"] = json!(true);
    let (status, answer) = park(stage, n, dry).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let all = answer["refusals"].as_array().unwrap();
    let word = |one: &Value, what: &str| one[what].as_str().unwrap().to_owned();
    // Commands can be pasted.
    let general = ["controller", "min-awake", "survive-failures"];
    for one in all.iter().filter(|one| !general.contains(&word(one, "reason").as_str())) {
        assert!(word(one, "cure").contains(&format!(" h{n}")), "{one}");
    }
    assert!(all.iter().all(|one| !word(one, "cure").is_empty()));
    all.iter().map(|one| (word(one, "reason"), word(one, "text"))).collect()
}

/// The host is refused for this reason and no other, and nothing has begun.
async fn refused(stage: &Stage, n: u128, body: Value, reason: &str, part: &str) {
    let found = reasons(stage, n, body.clone()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, reason);
    assert!(found[0].1.contains(part), "{}", found[0].1);
    let before = stage.phase(n);
    let (status, problem) = park(stage, n, body).await;
    let expected =
        if reason == "under-way" { StatusCode::CONFLICT } else { StatusCode::UNPROCESSABLE_ENTITY };
    assert_eq!(status, expected, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    assert_eq!(stage.phase(n), before);
    assert!(!stage.events("host.park_refused").await.is_empty());
}

fn untested() -> Value {
    json!({ "untested": true })
}

#[tokio::test(start_paused = true)]
async fn guests_leave_before_their_host_is_switched_off() {
    let mut stage = Stage::new(3, 4).await;
    stage.with_bmc(1).await;
    let (status, answer) = park(&stage, 1, untested()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let shown = stage.cluster.host("h1").await;
    assert_eq!((&shown["state"], &shown["maintenance"]), (&json!("online"), &json!("draining")));
    let mut seen = Vec::new();
    while stage.phase(1).as_str() != "parked" {
        if stage.world().machines.is(&address(1)) == Some(PowerState::Off) {
            assert_eq!(stage.cluster.on(1), 0, "it was switched off with guests on it");
        }
        stage.turn().await;
        let state = stage.power(1).await["doing"].clone();
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        assert!(seen.len() < 20);
    }
    assert_eq!(stage.cluster.on(2) + stage.cluster.on(3), 4);
    assert_eq!(stage.world().machines.orders(&address(1)), [], "no power was cut");
    assert_eq!(seen.last().unwrap(), "its BMC says that it is off");
    let told = stage.events("host.parking").await;
    assert!(told[0].contains("4 guest(s) leave") && told[1].contains("told to switch"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn each_reason_against_a_park_is_told() {
    let stage = Stage::new(3, 0).await;
    refused(&stage, 3, untested(), "no-wake-method", "nothing is known").await;
    stage.with_bmc(3).await;
    refused(&stage, 3, json!({}), "untested", "never shown").await;
    stage.set(3, json!({ "keep_awake": true })).await;
    refused(&stage, 3, untested(), "keep-awake", "set to stay awake").await;
    stage.set(3, json!({ "keep_awake": false })).await;
    let label = |value: Value| json!({ "labels": { "etcd": value } });
    stage.call("PATCH", "/v1/hosts/h3/labels", Some(label(json!("m1")))).await;
    refused(&stage, 3, untested(), "keep-awake", "quorum").await;
    stage.call("PATCH", "/v1/hosts/h3/labels", Some(label(Value::Null))).await;
    stage.call("PUT", "/v1/reserve", Some(json!({ "min_awake": 3 }))).await;
    refused(&stage, 3, untested(), "min-awake", "2 host(s) would stay awake, and 3 must").await;
    stage.call("PUT", "/v1/reserve", Some(json!({}))).await;
    assert_eq!(reasons(&stage, 3, untested()).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_bmc_could_not_wake_it_is_not_switched_off() {
    let stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    let faulty = |fault| stage.world().machines.set_fault(&address(3), fault);
    for (fault, part) in
        [(BmcFault::Denies, "refuses the login"), (BmcFault::Unreachable, "answer")]
    {
        faulty(fault);
        refused(&stage, 3, untested(), "bmc", part).await;
        let (status, problem) = stage.call("POST", "/v1/hosts/h3/check-wake", None).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    }
    // A second way to wake it is enough, but not for a login that is wrong.
    stage.with_card(3).await;
    assert_eq!(reasons(&stage, 3, untested()).await, []);
    faulty(BmcFault::Denies);
    refused(&stage, 3, untested(), "bmc", "refuses the login").await;
    stage.set(3, json!({ "methods": ["wake_on_lan"] })).await;
    assert_eq!(reasons(&stage, 3, untested()).await, []);
    assert_eq!(stage.world().machines.is(&address(3)), Some(PowerState::On));
}

#[tokio::test(start_paused = true)]
async fn a_test_says_what_proved_that_its_host_was_off() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.call("POST", "/v1/hosts/h3/check-wake", None).await;
    stage.world().machines.set_fault(&address(3), BmcFault::Denies);
    stage.until_phase(3, "waking").await;
    let told = stage.events("host.parked").await;
    assert!(told[0].contains("as far as can be told") && !told[0].contains("its BMC"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_told_to_switch_off_is_not_drained_besides() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    park(&stage, 3, untested()).await;
    stage.turn().await;
    let (status, problem) = stage.call("PUT", "/v1/hosts/h3/maintenance", Some(json!({}))).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("told to switch off"), "{problem}");
    stage.until_phase(3, "parked").await;
    stage.call("POST", "/v1/hosts/h3/wake", None).await;
    stage.until_phase(3, "settled").await;
    assert_eq!(stage.cluster.host("h3").await["maintenance"], "active");
}

#[tokio::test(start_paused = true)]
async fn all_reasons_are_told_at_once() {
    let stage = Stage::new(2, 0).await;
    stage.set(2, json!({ "keep_awake": true })).await;
    stage.call("PUT", "/v1/reserve", Some(json!({ "min_awake": 2 }))).await;
    let kinds: Vec<String> =
        reasons(&stage, 2, json!({})).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["keep-awake", "no-wake-method", "min-awake"]);
    let told = stage.events("host.park_refused").await;
    assert_eq!(told, [""; 0], "a dry run is no news");
}

#[tokio::test(start_paused = true)]
async fn the_controllers_own_host_is_not_parked() {
    let stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    let live = &stage.world().live;
    for number in 0..20 {
        live.is_beside(host_id(3), number);
    }
    refused(&stage, 3, untested(), "controller", "this controller runs on it").await;
}

#[tokio::test(start_paused = true)]
async fn guests_that_cannot_leave_keep_their_host_on() {
    let stage = Stage::new(3, 0).await;
    stage.with_bmc(1).await;
    stage.cluster.add(5, 62 << 10).await;
    stage.cluster.measure().await;
    refused(&stage, 1, untested(), "guests", "vm5 (h2: it needs").await;
}

#[tokio::test(start_paused = true)]
async fn hosts_that_could_not_take_over_from_each_other_are_not_left_alone() {
    let stage = Stage::new(3, 0).await;
    for n in 1..=3 {
        stage.with_bmc(n).await;
    }
    for n in 1..=3 {
        stage.cluster.add(n, 20 << 10).await;
        let of = host_id(n);
        stage
            .world()
            .update_with(|tables, txn| {
                let id = drover_testkit::guest_id(n);
                let mut guest = tables.guests.get(id).unwrap().clone();
                guest.guest.host = of;
                let owner = *tables.owners.get(id).unwrap();
                txn.put(guest);
                txn.put(drover_model::OwnerRecord { host: of, ..owner });
            })
            .await;
    }
    stage.cluster.measure().await;
    assert_eq!(reasons(&stage, 3, untested()).await, []);
    stage.call("PUT", "/v1/reserve", Some(json!({ "survive_failures": 1 }))).await;
    refused(&stage, 3, untested(), "survive-failures", "there is no place for").await;
}

#[tokio::test(start_paused = true)]
async fn a_card_that_no_awake_host_can_reach_keeps_its_host_on() {
    let stage = Stage::new(2, 0).await;
    stage.with_card(2).await;
    stage
        .world()
        .update_with(|tables, txn| {
            let mut record = tables.hosts.get(host_id(1)).unwrap().clone();
            record.host.capabilities.nics[0].addresses = vec!["10.7.0.1/24".to_owned()];
            txn.put(record);
        })
        .await;
    refused(&stage, 2, untested(), "out-of-reach", "shares a network").await;
    stage.set(2, json!({ "broadcasts": ["10.0.0.255"] })).await;
    assert_eq!(reasons(&stage, 2, untested()).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_answer_or_is_off_is_not_parked() {
    let mut stage = Stage::new(4, 0).await;
    stage.with_bmc(3).await;
    stage.with_bmc(4).await;
    stage.parked(3).await;
    refused(&stage, 3, untested(), "under-way", "it is parked already").await;
    stage.world().machines.set_state(&address(4), PowerState::Off);
    let lost = |of: &Stage| {
        let tables = of.world().records.read();
        tables.hosts.get(host_id(4)).unwrap().host.state == HostState::Unreachable
    };
    stage.until("h4 is lost", lost).await;
    refused(&stage, 4, untested(), "not-online", "unreachable").await;
    assert_eq!(stage.events("host.unreachable").await.len(), 1, "h4 is lost, h3 is not");
}

#[tokio::test(start_paused = true)]
async fn two_parks_at_once_leave_the_reserve_awake() {
    let stage = Stage::new(3, 0).await;
    for n in 1..=3 {
        stage.with_bmc(n).await;
    }
    stage.call("PUT", "/v1/reserve", Some(json!({ "min_awake": 2 }))).await;
    let answers = futures::future::join_all((1..=3).map(|n| park(&stage, n, untested()))).await;
    let taken = answers.iter().filter(|(status, _)| *status == StatusCode::ACCEPTED).count();
    assert_eq!(taken, 1, "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_refuses_leaves_its_host_in_use() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.quirk(3, Quirk::RefusesOff);
    park(&stage, 3, untested()).await;
    stage.until_phase(3, "settled").await;
    let told = stage.events("host.park_failed").await;
    assert!(told[0].contains("vm9 is active") && told[0].contains("used again"), "{told:?}");
    assert_eq!(stage.cluster.host("h3").await["maintenance"], "active");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_still_busy_with_a_guest_is_told_again() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.quirk(3, Quirk::NotNow);
    park(&stage, 3, untested()).await;
    for _ in 0..20 {
        stage.turn().await;
    }
    let doing = stage.power(3).await["doing"].clone();
    assert!(doing.as_str().unwrap().contains("not yet: guest vm9 is leaving"), "{doing}");
    let told = stage.events("host.parking").await;
    let told: Vec<_> = told.iter().filter(|text| text.contains("told again")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    stage.quirk(3, Quirk::None);
    stage.until_phase(3, "parked").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_busy_keeps_its_host_on_and_in_use() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.quirk(3, Quirk::NotNow);
    park(&stage, 3, untested()).await;
    let turns = stage.until_phase(3, "settled").await;
    assert!((58..75).contains(&turns), "{turns}");
    let told = stage.events("host.park_failed").await;
    assert!(told[0].contains("vm9 is leaving") && told[0].contains("used again"), "{told:?}");
    assert_eq!(stage.cluster.host("h3").await["maintenance"], "active");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_go_off_is_told_of_and_never_cut() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.quirk(3, Quirk::StaysOn);
    park(&stage, 3, untested()).await;
    let turns = stage.until_phase(3, "settled").await;
    assert!((295..320).contains(&turns), "{turns}");
    let told = stage.events("host.park_failed").await;
    assert!(told[0].contains("still on") && told[0].contains("stays closed"), "{told:?}");
    assert_eq!(stage.world().machines.orders(&address(3)), []);
    assert_eq!(stage.cluster.host("h3").await["maintenance"], "drained");
    let (status, _) = stage.call("DELETE", "/v1/hosts/h3/maintenance", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(stage.record(3).unwrap().drain, None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_ended_ends_the_park() {
    let mut stage = Stage::new(3, 2).await;
    stage.with_bmc(1).await;
    park(&stage, 1, untested()).await;
    let (status, _) = stage.call("DELETE", "/v1/hosts/h1/maintenance", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    stage.until_phase(1, "settled").await;
    assert!(stage.events("host.park_failed").await[0].contains("somebody took it"));
    assert!(stage.is_up(1));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_drained_before_stays_drained_when_it_is_awake_again() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.call("PUT", "/v1/hosts/h3/maintenance", Some(json!({}))).await;
    stage.turn().await;
    stage.parked(3).await;
    stage.call("POST", "/v1/hosts/h3/wake", None).await;
    stage.until_phase(3, "settled").await;
    assert_eq!(stage.cluster.host("h3").await["maintenance"], "drained");
}

#[tokio::test(start_paused = true)]
async fn without_its_bmcs_word_a_park_waits_for_its_deadline() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    park(&stage, 3, untested()).await;
    stage.world().machines.set_fault(&address(3), BmcFault::Unreachable);
    let turns = stage.until_phase(3, "parked").await;
    assert!((295..320).contains(&turns), "{turns}");
    assert!(stage.events("host.parked").await[0].contains("as far as can be told"));
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_refuses_the_login_is_no_witness_and_is_asked_once() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    park(&stage, 3, untested()).await;
    stage.world().machines.set_fault(&address(3), BmcFault::Denies);
    let turns = stage.until_phase(3, "parked").await;
    assert!((45..60).contains(&turns), "{turns}");
    assert!(stage.events("host.parked").await[0].contains("as far as can be told"));
    assert_eq!(stage.world().machines.denials(&address(3)), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_controller_in_every_turn_of_a_park_loses_nothing() {
    for methods in ["bmc", "card"] {
        let mut stage = Stage::new(3, 4).await;
        match methods {
            "bmc" => stage.with_bmc(1).await,
            _ => stage.with_card(1).await,
        }
        park(&stage, 1, untested()).await;
        let mut turns = 0;
        while stage.phase(1).as_str() != "parked" {
            turns += 1;
            assert!(turns < 150, "{:?}", stage.phase(1));
            stage.turn().await;
            stage = stage.restart().await;
        }
        assert!(!stage.is_up(1) && stage.cluster.on(1) == 0);
        assert_eq!(stage.events("host.parked").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_test_parks_and_wakes_and_lets_the_host_be_parked_from_then_on() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    let (status, answer) = stage.call("POST", "/v1/hosts/h3/check-wake", None).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    stage.until_phase(3, "waking").await;
    stage.until_phase(3, "settled").await;
    let power = stage.power(3).await;
    assert_eq!(power["wake_tested"], true, "{power}");
    assert_eq!(power["last_test"]["failure"], Value::Null, "{power}");
    assert!(power["last_test"]["seconds"].as_f64().unwrap() > 30.0, "{power}");
    assert_eq!(stage.events("host.wake_tested").await.len(), 1);
    assert_eq!(stage.cluster.host("h3").await["maintenance"], "active");
    assert_eq!(reasons(&stage, 3, json!({})).await, []);
    // A wake that fails takes that away.
    stage.parked(3).await;
    stage.world().machines.set_fault(&address(3), BmcFault::IgnoresSwitches);
    stage.call("POST", "/v1/hosts/h3/wake", None).await;
    stage.until_phase(3, "wake-failed").await;
    assert!(!stage.record(3).is_some_and(|record: PowerRecord| record.is_tested()));
}

#[tokio::test(start_paused = true)]
async fn a_test_that_fails_is_told_with_its_cause() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_card(3).await;
    stage.quirk(3, Quirk::DeadNic);
    stage.call("POST", "/v1/hosts/h3/check-wake", None).await;
    stage.until_phase(3, "wake-failed").await;
    let told = stage.events("host.wake_tested").await;
    assert!(told[0].contains("did not pass") && told[0].contains("no sign of life"), "{told:?}");
    assert!(stage.power(3).await["last_test"]["failure"].is_string());
    assert_ne!(stage.phase(3), PowerPhase::Settled);
}

#[tokio::test(start_paused = true)]
async fn a_wake_after_a_park_counts_as_the_test_until_the_ways_to_wake_change() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    refused(&stage, 3, json!({}), "untested", "never shown").await;
    stage.parked(3).await;
    stage.call("POST", "/v1/hosts/h3/wake", None).await;
    stage.until_phase(3, "settled").await;
    let power = stage.power(3).await;
    assert_eq!((&power["wake_tested"], &power["last_test"]), (&json!(true), &Value::Null));
    assert_eq!(reasons(&stage, 3, json!({})).await, []);
    stage.set(3, json!({ "tries": 3 })).await;
    assert_eq!(reasons(&stage, 3, json!({})).await, [], "patience is no other way");
    stage.with_card(3).await;
    refused(&stage, 3, json!({}), "untested", "never shown").await;
    // What comes up by itself shows nothing.
    stage.parked(3).await;
    stage.press(3);
    stage.until_phase(3, "settled").await;
    refused(&stage, 3, json!({}), "untested", "never shown").await;
    stage.parked(3).await;
    stage.call("POST", "/v1/hosts/h3/wake", None).await;
    stage.turn().await;
    stage.set(3, json!({ "methods": ["bmc"] })).await;
    stage.until_phase(3, "settled").await;
    refused(&stage, 3, json!({}), "untested", "never shown").await;
}

#[tokio::test(start_paused = true)]
async fn a_wake_of_a_lost_host_does_not_show_that_a_parked_one_wakes() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.world().machines.set_state(&address(3), PowerState::Off);
    let lost = |of: &Stage| {
        let tables = of.world().records.read();
        tables.hosts.get(host_id(3)).unwrap().host.state == HostState::Unreachable
    };
    stage.until("h3 is lost", lost).await;
    stage.call("POST", "/v1/hosts/h3/wake", None).await;
    stage.until_phase(3, "settled").await;
    refused(&stage, 3, json!({}), "untested", "never shown").await;
}
