//! Every move is looked at before it begins, whoever wanted it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use drover_api::v1::EventQuery;
use drover_controller::reconcile::Reconcile as _;
use drover_controller::records::{
    GuestRecord, HostRecord, MaintenancePhase, OperationRecord, PlanState,
};
use drover_lifecycle::{FailureKind, MigrationState};
use drover_model::{Bytes, CpuFit, Disk, DiskSource, GuestId, Host, OwnerPhase, TyingDevice};
use drover_planner::Level;
use drover_testkit::{guest, guest_id, host, host_id};
use serde_json::{Value, json};

use crate::agents::{Says, connect};
use crate::balance::{arrive, policy, uneven};
use crate::drain::Cluster;
use crate::plans::advance;

fn lacking() -> Says {
    let features = vec!["hle".to_owned()];
    Says { cpu: CpuFit::Lacks { features, said: String::new() }, ..Says::default() }
}

fn silent() -> Says {
    Says { silent: true, ..Says::default() }
}

async fn put_host(cluster: &Cluster, host: Host) {
    cluster.world.update(|txn| txn.put(HostRecord { host, disturbed: None })).await;
}

fn operations(cluster: &Cluster) -> Vec<OperationRecord> {
    cluster.world.records.read().operations.iter().cloned().collect()
}

fn failures(cluster: &Cluster) -> Vec<(GuestId, FailureKind, String)> {
    let failed = |of: OperationRecord| match of.migration.state {
        MigrationState::Failed { cause, .. } => {
            Some((of.migration.guest, cause.kind, cause.message))
        }
        _ => None,
    };
    operations(cluster).into_iter().filter_map(failed).collect()
}

fn state(cluster: &Cluster) -> Vec<&'static str> {
    operations(cluster).iter().map(|of| of.migration.state.as_str()).collect()
}

fn of(findings: &Value) -> String {
    findings.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_drain_goes_around_a_host_that_does_not_take_its_guests() {
    let mut cluster = Cluster::new(3, 6).await;
    let (_, begun) = cluster.drain(json!({})).await;
    assert_eq!(begun["certificate"]["unasked"], 0, "{begun}");
    // What the certificate found counts for a minute; then h2 is asked again.
    connect(&cluster.world, host_id(2), lacking());
    cluster.world.clock.advance(Duration::from_secs(61));
    cluster.measure().await;
    cluster.until("drained", Cluster::is_drained).await;
    assert!(cluster.on(1) == 0 && cluster.on(2) <= 2, "what had begun arrived");
    let failed = failures(&cluster);
    assert!(!failed.is_empty(), "the certificate cannot know it");
    for (_, kind, text) in &failed {
        assert_eq!(*kind, FailureKind::Preflight);
        assert!(text.contains("hle (cpu)") && text.contains("baseline"), "{text}");
    }
    let mut guests: Vec<GuestId> = failed.iter().map(|(guest, ..)| *guest).collect();
    guests.dedup();
    assert_eq!(guests.len(), failed.len(), "nobody is sent to h2 twice");
    {
        let tables = cluster.world.records.read();
        assert!(tables.owners.iter().all(|owner| owner.phase == OwnerPhase::Settled));
        assert!(tables.plans.iter().any(|plan| plan.state == PlanState::Failed));
    }
    let events = cluster.world.api.events.query(&EventQuery::default()).await.unwrap();
    let told = events.iter().filter(|event| event.kind == "migration.failed");
    assert!(
        told.clone().count() == failed.len() && told.clone().all(|e| e.message.contains("hle"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_certificate_knows_what_hosts_do_not_take() {
    let mut cluster = Cluster::new(3, 6).await;
    connect(&cluster.world, host_id(2), lacking());
    let (_, dry) = cluster.drain(json!({"dry_run": true})).await;
    let certificate = &dry["certificate"];
    assert_eq!((&certificate["feasible"], &certificate["unasked"]), (&json!(true), &json!(0)));
    let batches = certificate["batches"].as_array().unwrap();
    let to_h3 = |step: &Value| step["to"] == "h3";
    assert!(batches.iter().flat_map(|batch| batch.as_array().unwrap()).all(to_h3), "{dry}");
    assert!(operations(&cluster).is_empty(), "a dry run begins nothing");
    cluster.drain(json!({})).await;
    cluster.until("drained", Cluster::is_drained).await;
    assert_eq!((cluster.on(1), cluster.on(2), cluster.on(3)), (0, 0, 6));
    assert_eq!(failures(&cluster), vec![]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_counts_the_moves_of_which_nobody_told() {
    let cluster = Cluster::new(2, 3).await;
    connect(&cluster.world, host_id(2), silent());
    let (_, dry) = cluster.drain(json!({"dry_run": true})).await;
    let certificate = &dry["certificate"];
    assert_eq!((&certificate["feasible"], &certificate["unasked"]), (&json!(true), &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_no_host_takes_is_asked_for_once_and_named() {
    let mut cluster = Cluster::new(4, 1).await;
    let ties = vec![TyingDevice::HostUsb { name: "1:2".to_owned() }];
    let says = Says { ties, ..Says::default() };
    let inspected = Arc::clone(&says.inspected);
    connect(&cluster.world, host_id(1), says);
    let (status, refused) = cluster.drain(json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("USB device 1:2"), "{refused}");
    cluster.drain(json!({"partial": true})).await;
    for _ in 0..30 {
        cluster.turn().await;
    }
    // By each of the two requests, and by nobody else.
    assert_eq!((operations(&cluster).len(), inspected.load(Ordering::Relaxed)), (0, 2));
    let hanging = {
        let tables = cluster.world.records.read();
        let record = tables.maintenance.get(host_id(1)).unwrap();
        assert_eq!(record.phase, MaintenancePhase::Draining);
        record.hanging.clone()
    };
    assert_eq!(hanging.len(), 1);
    assert!(hanging[0].why.contains("USB device 1:2"), "{}", hanging[0].why);
    connect(&cluster.world, host_id(1), Says::default());
    cluster.world.clock.advance(Duration::from_secs(600));
    cluster.measure().await;
    cluster.until("it is tried again, and goes", Cluster::is_drained).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_found_shows_in_why_not_until_a_check_finds_nothing() {
    let cluster = Cluster::new(3, 1).await;
    connect(&cluster.world, host_id(2), lacking());
    let (status, _) =
        cluster.call("POST", "/v1/guests/vm1/migrate", Some(json!({"to": "h2"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let place = json!({"goal": {"for": "place", "guest": "vm1"}});
    let (_, plan) = cluster.call("POST", "/v1/plans/preview", Some(place)).await;
    assert_eq!(plan["batches"][0][0]["to"], "h3", "plans know: {plan}");
    let path = format!("/v1/plans/{}/why-not", plan["id"].as_str().unwrap());
    let why = async || {
        let wanted = json!({"guest": "vm1", "host": "h2"});
        cluster.call("POST", &path, Some(wanted)).await.1
    };
    let answer = why().await;
    assert_eq!(answer["refused"][0]["constraint"], "preflight", "{answer}");
    assert!(answer["summary"].as_str().unwrap().contains("hle"), "{answer}");
    connect(&cluster.world, host_id(2), Says::default());
    let (_, check) = cluster.call("GET", "/v1/guests/vm1/check?to=h2", None).await;
    assert_eq!(check["targets"][0]["allowed"], true, "what was found before is no finding");
    assert_eq!(why().await["allowed"], true);
}

#[tokio::test(start_paused = true)]
async fn a_silent_host_holds_up_nobody_else_and_nothing_goes_there() {
    let mut cluster = Cluster::new(3, 6).await;
    connect(&cluster.world, host_id(2), silent());
    cluster.drain(json!({})).await;
    let begun = |of: &OperationRecord| of.migration.state == MigrationState::Offering;
    let to_h3 = operations(&cluster).into_iter().filter(begun);
    assert!(to_h3.clone().count() == 2 && to_h3.clone().all(|of| of.migration.to == host_id(3)));
    let waits = cluster.queued()[0];
    let (_, shown) = cluster.call("GET", &format!("/v1/operations/{waits}"), None).await;
    assert!(shown["queue"]["waits_for"].is_string(), "{shown}");
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(11)).await;
        cluster.turn().await;
    }
    let failed = failures(&cluster);
    assert!(!failed.is_empty());
    assert!(failed.iter().all(|(_, _, text)| text.contains("h2 does not tell")), "{failed:?}");
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(11)).await;
        cluster.turn().await;
    }
    assert_eq!((cluster.on(2), cluster.on(3)), (0, 6));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_too_old_to_be_asked_takes_guests_as_ever() {
    let mut cluster = Cluster::new(2, 1).await;
    put_host(&cluster, Host { agent_version: "0.0.9".to_owned(), ..host(2, 32.0, 64) }).await;
    connect(&cluster.world, host_id(2), silent());
    cluster.drain(json!({})).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    cluster.until("drained", Cluster::is_drained).await;
    let all = operations(&cluster);
    assert!(all.len() == 1 && all[0].notes[0].1.contains("0.0.9"), "{:?}", all[0].notes);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_away_is_waited_for() {
    let world = Cluster::new(2, 1).await.world.restarted().await;
    let token = world.token(drover_api::v1::Role::Operator).await;
    let drain = world.call("PUT", "/v1/hosts/h1/maintenance", Some(&token), Some(json!({})));
    assert_eq!(drain.await.0, StatusCode::ACCEPTED);
    world.settle().await;
    let id = world.records.read().operations.iter().next().unwrap().migration.operation;
    let shown = async || {
        let path = format!("/v1/operations/{id}");
        world.call("GET", &path, Some(&token), None).await.1
    };
    let waits = shown().await;
    assert_eq!(waits["state"], "admitted", "{waits}");
    let why = waits["queue"]["waits_for"].as_str().unwrap();
    assert!(why.contains("agent of h1") && why.contains("not connected"), "{why}");
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), Says::default());
    world.engine.begin_admitted().await;
    world.settle().await;
    assert_eq!(shown().await["state"], "offering");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_host_takes_the_next_best() {
    let cluster = Cluster::new(3, 1).await;
    for n in [2, 3] {
        connect(&cluster.world, host_id(n), if n == 2 { lacking() } else { Says::default() });
    }
    // h3 takes more, so that h2 is the planner's choice.
    cluster
        .world
        .update(|txn| {
            let record = GuestRecord { guest: guest(2, 3, 4096), last_moved: None, absent: false };
            txn.put(record);
        })
        .await;
    cluster.measure().await;
    let (status, answer) =
        cluster.call("POST", "/v1/guests/vm1/migrate", Some(json!({"dry_run": true}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["plan"]["batches"][0][0]["to"], "h3", "{answer}");
    let warning = &answer["warnings"][0];
    assert_eq!((&warning["check"], &warning["blocks"]), (&json!("preflight"), &json!(false)));
    assert!(warning["cause"].as_str().unwrap().starts_with("h2 was not chosen"), "{warning}");
    connect(&cluster.world, host_id(3), lacking());
    let (status, refused) = cluster.call("POST", "/v1/guests/vm1/migrate", Some(json!({}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("h2") && detail.contains("h3") && detail.contains("hle"), "{detail}");
    assert!(refused["hint"].as_str().unwrap().contains("baseline"), "{refused}");
    assert_eq!(operations(&cluster).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn several_guests_go_where_they_are_taken_or_are_named() {
    let cluster = Cluster::new(3, 4).await;
    connect(&cluster.world, host_id(2), lacking());
    let several = |to: Option<&str>| json!({"guests": ["vm1", "vm2", "vm3", "vm4"], "to": to});
    let (status, refused) = cluster.call("POST", "/v1/migrations", Some(several(Some("h2")))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("4 of 4") && detail.contains("hle"), "{detail}");
    let (status, answer) = cluster.call("POST", "/v1/migrations", Some(several(None))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let moves = answer["plan"]["batches"].as_array().unwrap().iter();
    let to = moves.flat_map(|batch| batch.as_array().unwrap()).map(|step| step["to"].clone());
    assert_eq!(to.collect::<Vec<_>>(), vec![json!("h3"); 4]);
}

#[tokio::test(start_paused = true)]
async fn what_was_looked_at_for_a_request_is_not_looked_at_again() {
    let mut cluster = Cluster::new(3, 4).await;
    let says = Says::default();
    let inspected = Arc::clone(&says.inspected);
    connect(&cluster.world, host_id(1), says);
    let body = json!({"guests": ["vm1", "vm2", "vm3", "vm4"]});
    let (status, answer) = cluster.call("POST", "/v1/migrations", Some(body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(state(&cluster), ["offering", "offering", "admitted", "admitted"], "at once");
    for _ in 0..10 {
        cluster.turn().await;
    }
    assert_eq!(cluster.on(1), 0);
    assert_eq!(inspected.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_move_that_waited_long_is_looked_at_once_more() {
    let mut cluster = Cluster::new(2, 3).await;
    let says = Says::default();
    let inspected = Arc::clone(&says.inspected);
    connect(&cluster.world, host_id(1), says);
    let body = json!({"guests": ["vm1", "vm2", "vm3"], "to": "h2"});
    cluster.call("POST", "/v1/migrations", Some(body)).await;
    assert_eq!(inspected.load(Ordering::Relaxed), 3);
    cluster.world.clock.advance(Duration::from_secs(120));
    cluster.measure().await;
    connect(&cluster.world, host_id(2), lacking());
    for _ in 0..8 {
        cluster.turn().await;
    }
    assert_eq!(inspected.load(Ordering::Relaxed), 4, "vm3, at its turn");
    assert_eq!((cluster.on(2), failures(&cluster).len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn warnings_are_in_the_answer_and_stay_with_the_operation() {
    let cluster = Cluster::new(2, 2).await;
    connect(&cluster.world, host_id(2), Says { clock_ahead_ms: 2_000, ..Says::default() });
    let wish = |dry_run: bool| json!({"to": "h2", "dry_run": dry_run});
    let (_, dry) = cluster.call("POST", "/v1/guests/vm1/migrate", Some(wish(true))).await;
    assert_eq!(dry["warnings"][0]["check"], "clock", "{dry}");
    let (status, answer) = cluster.call("POST", "/v1/guests/vm1/migrate", Some(wish(false))).await;
    assert_eq!((status, &answer["warnings"]), (StatusCode::ACCEPTED, &dry["warnings"]));
    let note = of(&answer["operation"]["notes"]);
    assert!(note.contains("warning (clock)"), "{answer}");
    cluster.drain(json!({})).await;
    let all = operations(&cluster);
    assert_eq!(all.len(), 2);
    let notes = |of: &OperationRecord| of.notes.iter().filter(|n| n.1.contains("clock")).count();
    assert_eq!(all.iter().map(notes).collect::<Vec<_>>(), [1, 1], "also of a drain's move");
}

#[tokio::test(start_paused = true)]
async fn skipping_the_cpu_check_lifts_the_constraint_and_says_so() {
    let cluster = Cluster::new(2, 1).await;
    let mut other = host(2, 32.0, 64);
    other.capabilities.cpu.microcode = Some("0x99".to_owned());
    put_host(&cluster, other).await;
    let mut own = guest(1, 1, 512);
    own.cpu_mode = "host-passthrough".to_owned();
    cluster
        .world
        .update(|txn| txn.put(GuestRecord { guest: own, last_moved: None, absent: false }))
        .await;
    let wish = |skip: bool| json!({"to": "h2", "options": {"skip_cpu_check": skip}});
    let (status, refused) = cluster.call("POST", "/v1/guests/vm1/migrate", Some(wish(false))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let (status, answer) = cluster.call("POST", "/v1/guests/vm1/migrate", Some(wish(true))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(answer["warnings"][0]["check"], "cpu-model", "{answer}");
    let cause = answer["warnings"][0]["cause"].as_str().unwrap();
    assert!(cause.contains("as was asked for") && cause.contains("0x99"), "{cause}");
    assert!(of(&answer["operation"]["notes"]).contains("cpu-model"), "{answer}");
    // Its turn comes: the constraint is not back.
    assert_eq!(answer["operation"]["state"], "offering", "{answer}");
    assert_eq!(failures(&cluster), vec![]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_copies_disks_takes_guests_with_local_disks_along() {
    let mut cluster = Cluster::new(2, 2).await;
    let mut own = guest(1, 1, 512);
    own.disks.push(Disk {
        format: Some("qcow2".to_owned()),
        capacity: Some(Bytes(1 << 30)),
        allocation: Some(Bytes(1 << 20)),
        ..Disk::new("vdb", DiskSource::File { path: "/var/local/b.qcow2".to_owned() })
    });
    let mut fixed = own.clone();
    fixed.id = guest_id(2);
    fixed.name = "vm2".to_owned();
    fixed.disks.last_mut().unwrap().format = Some("vmdk".to_owned());
    let record = |guest| GuestRecord { guest, last_moved: None, absent: false };
    cluster
        .world
        .update(|txn| {
            txn.put(record(own));
            txn.put(record(fixed));
        })
        .await;
    let (status, refused) = cluster.drain(json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("/var/local/b.qcow2"), "{refused}");
    let body = |partial: bool| json!({"options": {"storage": "full"}, "partial": partial});
    let (status, refused) = cluster.drain(body(false)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("1 of 2") && detail.contains("vmdk"), "{detail}");
    let (status, answer) = cluster.drain(body(true)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    cluster.until("vm1 is gone with its disk", |of| of.on(1) == 1).await;
    let moved = operations(&cluster);
    assert_eq!((moved.len(), moved[0].migration.disks.len()), (1, 1));
    assert_eq!(moved[0].migration.disks[0].from, "/var/local/b.qcow2");
    cluster.turn().await;
    let tables = cluster.world.records.read();
    let hanging = &tables.maintenance.get(host_id(1)).unwrap().hanging;
    assert!(hanging.len() == 1 && hanging[0].why.contains("vmdk"), "{hanging:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_policy_wants_is_looked_at_and_known_to_its_next_plan() {
    let (world, balance) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), lacking());
    world.update(|txn| txn.put(policy(Level::Moderate))).await;
    balance.reconcile().await.unwrap();
    world.settle().await;
    let tried: Vec<(GuestId, bool)> = {
        let tables = world.records.read();
        let all = tables.operations.iter();
        all.map(|of| (of.migration.guest, of.is_refused())).collect()
    };
    assert!(!tried.is_empty() && tried.iter().all(|(_, refused)| *refused), "{tried:?}");
    let record = {
        let tables = world.records.read();
        tables.refusals.get(tried[0].0).cloned().expect("it is remembered")
    };
    assert_eq!(record.to.keys().copied().collect::<Vec<_>>(), [host_id(2)]);
    let tables = world.records.read();
    let standing = drover_controller::placement::standing(&tables);
    assert!(tried.iter().all(|(guest, _)| standing.refused.contains_key(guest)));
}

#[tokio::test(start_paused = true)]
async fn later_batches_of_a_plan_are_looked_at_when_they_begin() {
    let (world, _) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), Says::default());
    let token = world.token(drover_api::v1::Role::Operator).await;
    let token = Some(token.as_str());
    let wanted = json!({"goal": {"for": "drain", "hosts": ["h1"]}});
    let (_, plan) = world.call("POST", "/v1/plans/preview", token, Some(wanted)).await;
    let path = format!("/v1/plans/{}/apply", plan["id"].as_str().unwrap());
    let (status, applied) = world.call("POST", &path, token, Some(json!({}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{applied}");
    let first = world.records.read().operations.len();
    let begun = |of: &&OperationRecord| of.entered("offering").is_some();
    assert_eq!(world.records.read().operations.iter().filter(begun).count(), first, "at once");
    arrive(&world).await;
    connect(&world, host_id(2), lacking());
    advance(&world).reconcile().await.unwrap();
    world.settle().await;
    let tables = world.records.read();
    let later = tables.operations.iter().filter(|of| of.is_refused()).count();
    assert!(later > 0 && later == tables.operations.len() - first, "{later}");
}
