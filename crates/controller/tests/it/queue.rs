//! The queue over the whole controller: order, reasons, cancel, and grounds that are gone.

use axum::http::StatusCode;
use drover_controller::records::HostRecord;
use drover_model::HostState;
use drover_testkit::{guest_id, host, host_id};
use serde_json::{Value, json};

use crate::drain::Cluster;

async fn operations(cluster: &Cluster) -> Vec<Value> {
    let (_, answer) = cluster.call("GET", "/v1/operations", None).await;
    answer["items"].as_array().unwrap().clone()
}

async fn queue(cluster: &Cluster) -> Vec<Value> {
    let mut queued: Vec<Value> =
        operations(cluster).await.into_iter().filter(|one| one["queue"].is_object()).collect();
    queued.sort_by_key(|one| one["queue"]["position"].as_u64());
    queued
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_for_what_and_where() {
    let cluster = Cluster::new(3, 5).await;
    let several = json!({ "guests": ["vm1", "vm2", "vm3", "vm4"] });
    let (status, answer) = cluster.call("POST", "/v1/migrations", Some(several)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(answer["operations"].as_array().unwrap().len(), 4);
    let queued = queue(&cluster).await;
    assert_eq!(queued.len(), 2);
    assert_eq!(queued[0]["queue"]["position"], 1);
    assert_eq!(queued[0]["queue"]["of"], 2);
    assert_eq!(queued[0]["queue"]["class"], "request");
    assert_eq!(queued[0]["queue"]["waits_for"], "h1 already sends 2");
    let (_, limits) = cluster.call("GET", "/v1/limits", None).await;
    assert_eq!((&limits["under_way"], &limits["queued"]), (&json!(2), &json!(2)));
    assert_eq!((&limits["per_cluster"], &limits["per_cluster_by_size"]), (&json!(8), &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn a_drain_comes_before_requests_that_wait() {
    let mut cluster = Cluster::new(3, 6).await;
    let several = json!({ "guests": ["vm1", "vm2", "vm3", "vm4"] });
    cluster.call("POST", "/v1/migrations", Some(several)).await;
    let (status, _) = cluster.call("PUT", "/v1/hosts/h1/maintenance", Some(json!({}))).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let causes: Vec<String> = queue(&cluster)
        .await
        .iter()
        .map(|one| format!("{} {}", one["guest"].as_str().unwrap(), one["queue"]["class"]))
        .collect();
    let classes: Vec<&str> = causes.iter().map(|text| text.split('"').nth(1).unwrap()).collect();
    assert_eq!(classes, ["evacuation", "evacuation", "request", "request"], "{causes:?}");
    for _ in 0..40 {
        cluster.turn().await;
    }
    assert_eq!(cluster.on(1), 0, "the requests count for the drain");
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_cancelled_at_once() {
    let cluster = Cluster::new(3, 4).await;
    let several = json!({ "guests": ["vm1", "vm2", "vm3", "vm4"] });
    cluster.call("POST", "/v1/migrations", Some(several)).await;
    let last = queue(&cluster).await.pop().unwrap();
    let path = format!("/v1/operations/{}/cancel", last["id"].as_str().unwrap());
    let (status, after) = cluster.call("POST", &path, None).await;
    assert_eq!((status, &after["state"]), (StatusCode::ACCEPTED, &json!("cancelled")));
    assert_eq!(queue(&cluster).await.len(), 1);
    let tables = cluster.world.records.read();
    let hosts: Vec<_> = tables.hosts.iter().filter(|of| of.disturbed.is_some()).collect();
    assert!(hosts.is_empty(), "nothing was moved: no window begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_target_is_gone_when_its_turn_comes_says_so() {
    let mut cluster = Cluster::new(2, 3).await;
    let several = json!({ "guests": ["vm1", "vm2", "vm3"] });
    cluster.call("POST", "/v1/migrations", Some(several)).await;
    let waits = queue(&cluster).await.pop().unwrap();
    let mut gone = host(2, 32.0, 64);
    gone.state = HostState::Degraded;
    cluster.world.update(|txn| txn.put(HostRecord { host: gone, disturbed: None })).await;
    for _ in 0..8 {
        cluster.turn().await;
    }
    let (_, after) = cluster
        .call("GET", &format!("/v1/operations/{}", waits["id"].as_str().unwrap()), None)
        .await;
    assert_eq!(after["state"], "failed", "{after}");
    let failure = after["failure"].as_str().unwrap();
    assert!(failure.contains("may not go to h2 any more: h2 is degraded"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_plans_anew_for_a_move_whose_target_is_gone() {
    let mut cluster = Cluster::new(3, 8).await;
    cluster.call("PUT", "/v1/hosts/h1/maintenance", Some(json!({}))).await;
    let mut gone = host(2, 32.0, 64);
    gone.state = HostState::Degraded;
    cluster.world.update(|txn| txn.put(HostRecord { host: gone, disturbed: None })).await;
    for _ in 0..60 {
        cluster.turn().await;
    }
    assert_eq!(cluster.on(1), 0);
    assert!(cluster.on(3) >= 6, "those that were to go to h2 went to h3");
    assert_eq!(cluster.host("h1").await["maintenance"], "drained");
}

#[tokio::test(start_paused = true)]
async fn several_guests_move_together_or_not_at_all() {
    let mut cluster = Cluster::new(3, 4).await;
    let several = |skip: bool| {
        let guests = ["vm1", "vm2", "vm3"];
        json!({ "guests": guests, "to": "h1", "skip_refused": skip })
    };
    let (status, problem) = cluster.call("POST", "/v1/migrations", Some(several(false))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("3 of 3") && detail.contains("it is there already"), "{detail}");
    let one = json!({ "guests": ["vm1"], "to": "h2" });
    let (status, answer) = cluster.call("POST", "/v1/migrations", Some(one)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    for _ in 0..20 {
        cluster.turn().await;
    }
    let to_h2 = |skip: bool| json!({ "guests": ["vm1", "vm2"], "to": "h2", "skip_refused": skip });
    let (status, problem) = cluster.call("POST", "/v1/migrations", Some(to_h2(false))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["hint"].as_str().unwrap().contains("--skip-refused"), "{problem}");
    assert_eq!(operations(&cluster).await.len(), 1, "nothing is half begun");
    let (status, answer) = cluster.call("POST", "/v1/migrations", Some(to_h2(true))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(answer["refused"][0]["guest"], "vm1");
    assert_eq!(answer["operations"][0]["guest"], "vm2");
    let from = json!({ "from": "h1", "to": "h3", "options": { "max_downtime_ms": 77 } });
    let (status, answer) = cluster.call("POST", "/v1/migrations", Some(from.clone())).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "vm2 is on its way: {answer}");
    for _ in 0..20 {
        cluster.turn().await;
    }
    let (status, answer) = cluster.call("POST", "/v1/migrations", Some(from)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let tables = cluster.world.records.read();
    let of_vm3 = tables.operations.iter().rev().find(|of| of.migration.guest == guest_id(3));
    let of_vm3 = of_vm3.unwrap();
    assert_eq!(of_vm3.migration.settings.max_downtime_ms, 77);
    assert_eq!(of_vm3.migration.to, host_id(3));
}
