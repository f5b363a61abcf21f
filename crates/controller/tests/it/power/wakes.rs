//! Waking: by each method, failing with its cause, and over a restart of the controller.

use std::time::Duration;

use axum::http::StatusCode;
use drover_controller::placement::standing;
use drover_controller::power::{Asked, WakeError, request_wake};
use drover_controller::records::{Cause, PowerPhase};
use drover_model::{HostState, PowerState};
use drover_ports::Clock as _;
use drover_ports::memory::BmcFault;
use drover_testkit::host_id;
use serde_json::json;

use super::stage::{BOOT, Quirk, Stage, address, mac};

async fn wake(stage: &Stage, n: u128) {
    let (status, answer) = stage.call("POST", &format!("/v1/hosts/h{n}/wake"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(answer["state"], "waking", "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_parked_host_is_woken_by_its_bmc_and_is_used_again() {
    let mut stage = Stage::new(3, 2).await;
    stage.with_bmc(3).await;
    stage.parked(3).await;
    let shown = stage.cluster.host("h3").await;
    assert_eq!((&shown["state"], &shown["maintenance"]), (&json!("parked"), &json!("drained")));
    for _ in 0..60 {
        stage.turn().await;
    }
    assert_eq!(stage.events("host.unreachable").await, [""; 0], "it is not lost");
    wake(&stage, 3).await;
    stage.turn().await;
    assert_eq!(stage.cluster.host("h3").await["state"], "waking");
    stage.until_phase(3, "settled").await;
    let shown = stage.cluster.host("h3").await;
    assert_eq!((&shown["state"], &shown["maintenance"]), (&json!("online"), &json!("active")));
    assert_eq!(stage.world().machines.orders(&address(3)), [PowerState::On]);
    assert_eq!(stage.packets.lock().unwrap().len(), 0);
    let power = stage.power(3).await;
    let learned = power["learned_wake_seconds"].as_f64().unwrap();
    assert!((f64::from(BOOT)..f64::from(BOOT) + 10.0).contains(&learned), "{power}");
    let told = stage.events("host.awake").await;
    assert!(told.len() == 1 && told[0].contains("1 tries"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_parked_host_is_woken_by_its_neighbours_with_the_cards_password() {
    let mut stage = Stage::new(3, 2).await;
    stage.with_card(3).await;
    stage.set(3, json!({ "secure_on": "01:02:03:04:05:06" })).await;
    stage.parked(3).await;
    let told = stage.events("host.parked").await;
    assert!(told[0].contains("as far as can be told"), "{told:?}");
    wake(&stage, 3).await;
    stage.until_phase(3, "settled").await;
    let packets = stage.packets.lock().unwrap().clone();
    let senders: Vec<_> = packets.iter().map(|(host, ..)| *host).collect();
    assert!(senders.contains(&host_id(1)) && senders.contains(&host_id(2)), "{packets:?}");
    assert!(packets.iter().all(|(_, card, length)| *card == mac(host_id(3)) && *length == 6));
    // Without a BMC nothing tells that it boots: tries go on until its agent is there.
    assert!((2 * BOOT as usize / 10..30).contains(&packets.len()), "{}", packets.len());
}

#[tokio::test(start_paused = true)]
async fn where_the_bmc_is_dead_the_magic_packet_is_sent_in_the_same_try() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.with_card(3).await;
    stage.parked(3).await;
    stage.world().machines.set_fault(&address(3), BmcFault::Unreachable);
    wake(&stage, 3).await;
    for _ in 0..3 {
        stage.turn().await;
    }
    assert!(!stage.packets.lock().unwrap().is_empty());
    stage.until_phase(3, "settled").await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_up_is_awake_at_once() {
    let mut stage = Stage::new(2, 0).await;
    stage.with_bmc(2).await;
    wake(&stage, 2).await;
    assert!(stage.until_phase(2, "settled").await <= 3);
    assert_eq!(stage.events("host.awake").await, ["h2 is up already"]);
    assert_eq!(stage.world().machines.orders(&address(2)), []);
    assert_eq!(stage.power(2).await["learned_wake_seconds"], json!(null));
}

#[tokio::test(start_paused = true)]
async fn a_wake_fails_with_its_cause_and_other_hosts_are_untouched() {
    for (quirk, cause) in [
        (Quirk::DeadNic, "no sign of life after 12 tries"),
        (Quirk::NoPool, "it is up, but pool fast is missing"),
        (Quirk::NoLibvirt, "it is up, but libvirtd does not answer"),
    ] {
        let mut stage = Stage::new(4, 0).await;
        stage.with_card(3).await;
        stage.with_bmc(4).await;
        stage.parked(3).await;
        stage.parked(4).await;
        stage.quirk(3, quirk);
        wake(&stage, 3).await;
        let turns = stage.until_phase(3, "wake-failed").await;
        assert!((290..310).contains(&turns), "{turns}");
        let told = stage.events("host.wake_failed").await;
        assert!(told.len() == 1 && told[0].contains(cause), "{told:?}");
        let shown = stage.cluster.host("h3").await;
        assert_eq!(shown["maintenance"], "drained", "nothing is placed on it");
        assert_eq!(stage.phase(4).as_str(), "parked");
        // The next one is tried.
        wake(&stage, 4).await;
        stage.until_phase(4, "settled").await;
        assert_eq!(stage.phase(3).as_str(), "wake-failed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_says_off_ends_the_tries_early() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.parked(3).await;
    stage.world().machines.set_fault(&address(3), BmcFault::IgnoresSwitches);
    wake(&stage, 3).await;
    let turns = stage.until_phase(3, "wake-failed").await;
    assert!((110..150).contains(&turns), "{turns}");
    assert_eq!(stage.world().machines.orders(&address(3)).len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_refuses_the_login_is_not_asked_over_and_over() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.parked(3).await;
    stage.world().machines.set_fault(&address(3), BmcFault::Denies);
    wake(&stage, 3).await;
    let turns = stage.until_phase(3, "wake-failed").await;
    assert!(turns <= 3, "{turns}");
    let told = stage.events("host.wake_failed").await;
    assert!(told.len() == 1 && told[0].contains("the BMC refuses the login"), "{told:?}");
    for _ in 0..60 {
        stage.turn().await;
    }
    assert_eq!(stage.world().machines.denials(&address(3)), 1);
    // What else wakes it is used at once.
    stage.with_card(3).await;
    wake(&stage, 3).await;
    stage.until_phase(3, "settled").await;
    assert_eq!(stage.world().machines.denials(&address(3)), 2);
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_storage_comes_late_is_used_once_it_is_there() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.parked(3).await;
    stage.quirk(3, Quirk::NoPool);
    stage.set(3, json!({ "deadline": "2m" })).await;
    wake(&stage, 3).await;
    stage.until_phase(3, "wake-failed").await;
    stage.quirk(3, Quirk::None);
    stage
        .world()
        .update_with(|tables, txn| {
            let mut record = tables.hosts.get(host_id(3)).unwrap().clone();
            record.host.capabilities.pools[0].active = true;
            txn.put(record);
        })
        .await;
    stage.until_phase(3, "settled").await;
    assert_eq!(stage.cluster.host("h3").await["maintenance"], "active");
    assert!(stage.events("host.awake").await[0].contains("at last"));
}

#[tokio::test(start_paused = true)]
async fn whoever_uses_a_host_as_it_is_gives_up_what_it_had() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.parked(3).await;
    let (status, problem) = stage.call("DELETE", "/v1/hosts/h3/maintenance", None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("host wake"), "{problem}");
    stage.quirk(3, Quirk::NoPool);
    stage.set(3, json!({ "deadline": "2m" })).await;
    wake(&stage, 3).await;
    stage.until_phase(3, "wake-failed").await;
    let (status, _) = stage.call("DELETE", "/v1/hosts/h3/maintenance", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(stage.phase(3), PowerPhase::Settled);
    assert_eq!(stage.cluster.host("h3").await["state"], "online");
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_controller_in_every_turn_of_a_wake_loses_nothing() {
    for methods in ["bmc", "card"] {
        let mut stage = Stage::new(3, 0).await;
        match methods {
            "bmc" => stage.with_bmc(3).await,
            _ => stage.with_card(3).await,
        }
        stage.parked(3).await;
        wake(&stage, 3).await;
        let mut turns = 0;
        while stage.phase(3) != PowerPhase::Settled {
            turns += 1;
            assert!(turns < 100, "{:?}", stage.phase(3));
            stage.turn().await;
            stage = stage.restart().await;
        }
        assert_eq!(stage.cluster.host("h3").await["state"], "online");
        assert_eq!(stage.record(3).unwrap().wake_times.count(), 1, "{methods}");
        assert_eq!(stage.events("host.awake").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_is_another_machines_takes_no_host_out_of_use() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    // It says off, whatever the host does.
    let other = drover_model::BmcAddress { host: "other".to_owned(), ..address(3) };
    let bmc = drover_ports::Bmc {
        address: other.clone(),
        password: drover_ports::Secret::new(super::stage::PASSWORD),
    };
    stage.world().machines.add(&bmc, PowerState::Off, None);
    stage
        .world()
        .update_with(|tables, txn| {
            let mut record = tables.power.get(host_id(3)).unwrap().clone();
            record.settings.bmc = Some(other);
            txn.put(record);
        })
        .await;
    wake(&stage, 3).await;
    assert!(stage.until_phase(3, "settled").await < 15);
    assert_eq!(stage.cluster.host("h3").await["state"], "online");
}

#[tokio::test(start_paused = true)]
async fn a_lost_host_whose_wake_failed_takes_no_guests_until_somebody_says_so() {
    let mut stage = Stage::new(3, 1).await;
    stage.with_bmc(2).await;
    stage.quirk(2, Quirk::NoPool);
    stage.world().machines.set_state(&address(2), PowerState::Off);
    for _ in 0..20 {
        stage.turn().await;
    }
    stage.set(2, json!({ "deadline": "2m" })).await;
    wake(&stage, 2).await;
    stage.until_phase(2, "wake-failed").await;
    let closed = |of: &Stage| standing(&of.world().records.read()).draining;
    assert_eq!(closed(&stage), [host_id(2)], "no plan sends guests there");
    let (status, _) = stage.call("DELETE", "/v1/hosts/h2/maintenance", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(closed(&stage), []);
    stage.turn().await;
    assert_eq!(stage.cluster.host("h2").await["state"], "online");
}

#[tokio::test(start_paused = true)]
async fn somebody_presses_the_button_of_a_parked_host() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.parked(3).await;
    stage.press(3);
    stage.until_phase(3, "settled").await;
    assert_eq!(stage.cluster.host("h3").await["maintenance"], "active");
    assert!(stage.events("host.awake").await[0].contains("by itself"));
}

#[tokio::test(start_paused = true)]
async fn a_rule_asks_for_a_wake_as_a_person_does() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.parked(3).await;
    let id = drover_model::RuleId::from_u128(1);
    let rule = || Cause::Rule { id, name: "hot".to_owned() };
    let now = stage.world().clock.now();
    let ask = async |n| request_wake(&stage.world().records, host_id(n), rule(), now).await;
    assert!(matches!(ask(3).await, Ok(Asked::Begun)));
    assert!(matches!(ask(3).await, Ok(Asked::UnderWay)));
    assert!(matches!(ask(2).await, Ok(Asked::Up)));
    assert!(matches!(ask(9).await, Err(WakeError::NoHost)));
    stage.until_phase(3, "settled").await;
    assert!(stage.events("host.waking").await[0].contains("rule hot"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_host_is_woken_too_and_without_a_way_it_is_refused() {
    let mut stage = Stage::new(3, 0).await;
    stage.world().machines.set_state(&address(2), PowerState::Off);
    let lost = |of: &Stage| {
        let tables = of.world().records.read();
        tables.hosts.get(host_id(2)).unwrap().host.state == HostState::Unreachable
    };
    stage.until("h2 is lost", lost).await;
    let (status, problem) = stage.call("POST", "/v1/hosts/h2/wake", None).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("no way to wake h2"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("host power set h2 --mac"), "{problem}");
    stage.with_bmc(2).await;
    wake(&stage, 2).await;
    stage.until_phase(2, "settled").await;
    assert!(stage.is_up(2));
    assert!(
        stage.world().clock.now().since(stage.record(2).unwrap().since) < Duration::from_secs(5)
    );
}

#[tokio::test(start_paused = true)]
async fn prometheus_is_told_the_state_that_each_hosts_power_is_in() {
    async fn states(stage: &Stage) -> Vec<String> {
        let mut lines = stage.world().metrics("drover_host_power_state{").await;
        assert_eq!(lines.len(), 2 * 6, "{lines:?}");
        lines.retain(|line| line.ends_with(" 1"));
        lines.sort();
        lines
    }
    let state = |n: u128, state: &str| {
        format!("drover_host_power_state{{name=\"h{n}\",state=\"{state}\"}} 1")
    };
    let mut stage = Stage::new(2, 0).await;
    stage.with_bmc(2).await;
    assert_eq!(states(&stage).await, [state(1, "on"), state(2, "on")]);
    stage.call("POST", "/v1/hosts/h2/park", Some(json!({ "untested": true }))).await;
    assert_eq!(states(&stage).await[1], state(2, "parking"));
    stage.until_phase(2, "parked").await;
    assert_eq!(states(&stage).await[1], state(2, "parked"));
    stage.quirk(2, Quirk::NoPool);
    wake(&stage, 2).await;
    assert_eq!(states(&stage).await[1], state(2, "waking"));
    stage.until_phase(2, "wake-failed").await;
    assert_eq!(states(&stage).await[1], state(2, "wake-failed"));
    // Nobody parked h1: why it is silent is not known.
    stage.world().machines.set_state(&address(1), PowerState::Off);
    stage.turn().await;
    assert_eq!(states(&stage).await[0], state(1, "unknown"));
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_a_parked_host_is_told_that_it_is_parked_and_how_it_is_woken() {
    let mut stage = Stage::new(3, 2).await;
    stage.with_bmc(3).await;
    stage.parked(3).await;
    stage.cluster.measure().await;
    let cure = "h3 is parked, that is asleep: `drover host wake h3` wakes it";
    let only = |text: &str| {
        assert!(text.contains(cure), "{text}");
        for word in ["emptied", "unreachable", "not measured", "samples", "not connected"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    };
    let (status, problem) =
        stage.call("POST", "/v1/guests/vm1/migrate", Some(json!({ "to": "h3" }))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    only(problem["detail"].as_str().unwrap());
    assert!(problem["hint"].as_str().unwrap().contains("wake it first"), "{problem}");
    let (_, check) = stage.call("GET", "/v1/guests/vm1/check?to=h3", None).await;
    let findings = check["targets"][0]["findings"].as_array().unwrap();
    let checks: Vec<_> = findings.iter().map(|one| one["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["asleep"], "{check}");
    only(findings[0]["cause"].as_str().unwrap());
    let (status, problem) = stage.call("PUT", "/v1/hosts/h3/maintenance", Some(json!({}))).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    only(problem["detail"].as_str().unwrap());
    // A guest that has room on no other host.
    stage.cluster.add(5, 62 << 10).await;
    stage.cluster.measure().await;
    let body = json!({ "dry_run": true });
    let (_, answer) = stage.call("PUT", "/v1/hosts/h1/maintenance", Some(body)).await;
    let blocked = answer["certificate"]["blocked"].to_string();
    assert!(blocked.contains(cure) && !blocked.contains("emptied"), "{blocked}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_shut_off_on_a_parked_host_says_so() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.cluster.add(5, 1 << 10).await;
    stage
        .world()
        .update_with(|tables, txn| {
            let id = drover_testkit::guest_id(5);
            let mut guest = tables.guests.get(id).unwrap().clone();
            guest.guest.host = host_id(3);
            guest.guest.state = drover_model::GuestState::ShutOff;
            let owner = *tables.owners.get(id).unwrap();
            txn.put(guest);
            txn.put(drover_model::OwnerRecord { host: host_id(3), ..owner });
        })
        .await;
    stage.parked(3).await;
    let lost = |of: &Stage| {
        let tables = of.world().records.read();
        tables.hosts.get(host_id(3)).unwrap().host.state == HostState::Unreachable
    };
    stage.until("h3 counts as silent", lost).await;
    let body = json!({ "to": "h1", "options": { "mode": "cold" } });
    let (_, problem) = stage.call("POST", "/v1/guests/vm5/migrate", Some(body)).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("its host h3 is parked, that is asleep"), "{problem}");
    assert!(!problem.to_string().contains("rescue"), "{problem}");
}
