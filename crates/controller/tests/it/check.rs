//! `GET /v1/guests/{guest}/check`, and what a request for a move is refused for.

use axum::http::StatusCode;
use drover_api::v1::Role;
use drover_model::{CpuFit, HostState, TyingDevice};
use drover_testkit::host_id;
use serde_json::{Value, json};

use crate::agents::{Says, connect};
use crate::balance::uneven;
use crate::world::World;

fn lacking() -> Says {
    let features = vec!["hle".to_owned(), "rtm".to_owned()];
    Says { cpu: CpuFit::Lacks { features, said: String::new() }, ..Says::default() }
}

async fn get(world: &World, path: &str) -> (StatusCode, Value) {
    let token = world.token(Role::Viewer).await;
    world.call("GET", path, Some(&token), None).await
}

async fn migrate(world: &World, body: Value) -> (StatusCode, Value) {
    let token = world.token(Role::Operator).await;
    world.call("POST", "/v1/guests/vm1/migrate", Some(&token), Some(body)).await
}

fn causes(findings: &Value) -> Vec<(String, bool)> {
    let of = |one: &Value| (one["check"].as_str().unwrap().to_owned(), one["blocks"] == true);
    findings.as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn hosts_that_agree_take_the_guest() {
    let (world, _) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), Says::default());
    let (status, check) = get(&world, "/v1/guests/vm1/check").await;
    assert_eq!(status, StatusCode::OK, "{check}");
    assert_eq!(check["targets"].as_array().unwrap().len(), 1, "not its own host: {check}");
    assert_eq!(check["targets"][0], json!({"host": "h2", "allowed": true, "findings": []}));
    let (_, own) = get(&world, "/v1/guests/vm1/check?to=h1").await;
    assert_eq!(own["targets"][0]["allowed"], false, "{own}");
    assert_eq!(get(&world, "/v1/guests/vm1/check?to=h9").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&world, "/v1/guests/nobody/check").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_reason_is_told_at_once_with_its_cure() {
    let (world, _) = uneven().await;
    let ties = vec![TyingDevice::HostUsb { name: "1:2".to_owned() }];
    connect(&world, host_id(1), Says { ties, ..Says::default() });
    connect(&world, host_id(2), Says { clock_ahead_ms: 2_000, ..lacking() });
    let (_, check) = get(&world, "/v1/guests/vm1/check?to=h2").await;
    let findings = &check["targets"][0]["findings"];
    let expected = [("cpu", true), ("device", true), ("clock", false)];
    assert_eq!(causes(findings), expected.map(|(name, blocks)| (name.to_owned(), blocks)));
    assert!(findings[0]["cause"].as_str().unwrap().ends_with("hle, rtm"), "{findings}");
    let (status, refused) = migrate(&world, json!({"to": "h2"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("hle, rtm") && detail.contains("USB device 1:2"), "{detail}");
    assert!(!detail.contains("clock"), "a warning refuses nothing: {detail}");
    assert!(refused["hint"].as_str().unwrap().contains("baseline"), "{refused}");
    assert_eq!(world.records.read().operations.len(), 0);
}

#[tokio::test]
async fn the_cpu_check_can_be_skipped_and_silence_cannot() {
    let (world, _) = uneven().await;
    connect(&world, host_id(1), Says::default());
    let (status, refused) = migrate(&world, json!({"to": "h2"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("h2 does not tell"), "{refused}");
    connect(&world, host_id(2), lacking());
    let body = json!({"to": "h2", "options": {"skip_cpu_check": true}});
    let (status, begun) = migrate(&world, body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{begun}");
}

#[tokio::test]
async fn a_check_looks_at_what_a_move_with_these_options_would() {
    let (world, _) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), lacking());
    let allowed = async |query: &str| {
        let (status, check) = get(&world, &format!("/v1/guests/vm1/check?to=h2{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {check}");
        (check["mode"].as_str().unwrap().to_owned(), check["targets"][0]["allowed"] == true)
    };
    assert_eq!(allowed("").await, ("live".to_owned(), false));
    assert_eq!(allowed("&skip_cpu_check=true").await, ("live".to_owned(), true));
    assert_eq!(allowed("&mode=live&storage=full").await.0, "live");
    let (status, refused) = get(&world, "/v1/guests/vm1/check?mode=rescue&storage=full").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "as for a move: {refused}");
    assert_eq!(get(&world, "/v1/guests/vm1/check?mode=warm").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn of_a_guest_whose_host_is_dead_a_rescue_is_checked() {
    let (world, _) = uneven().await;
    connect(&world, host_id(2), Says::default());
    world
        .update_with(|tables, txn| {
            let mut record = tables.hosts.get(host_id(1)).unwrap().clone();
            record.host.state = HostState::Unreachable;
            txn.put(record);
        })
        .await;
    let (_, check) = get(&world, "/v1/guests/vm1/check").await;
    assert_eq!((&check["mode"], &check["host"]), (&json!("rescue"), &json!("h1")), "{check}");
    assert_eq!(check["targets"][0]["allowed"], true, "nobody misses h1's answer: {check}");
}
