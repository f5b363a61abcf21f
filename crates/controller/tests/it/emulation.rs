//! Emulated guests whose QEMU loses a part of their memory in a live move.

use axum::http::StatusCode;
use drover_controller::reconcile::Reconcile as _;
use drover_controller::records::{
    HostRecord, MaintenancePhase, MaintenanceRecord, OperationRecord, Tables, Txn,
};
use drover_lifecycle::{FailureKind, MigrationState};
use drover_model::{GuestId, MigrationSettings, RunningQemu};
use drover_planner::Level;
use drover_ports::Clock as _;
use drover_rules::{EMULATED_MEMORY, Initiative};
use drover_testkit::{guest_id, host, host_id};
use serde_json::{Value, json};

use crate::agents::{Says, connect};
use crate::balance::{policy, uneven};
use crate::drain::Cluster;
use crate::world::World;

fn emulate(tables: &Tables, txn: &mut Txn, which: impl Fn(GuestId) -> bool) {
    for record in tables.guests.iter().filter(|record| which(record.guest.id)) {
        let mut record = record.clone();
        record.guest.virt_type = "qemu".to_owned();
        txn.put(record);
    }
}

async fn emulate_in(world: &World, which: impl Fn(GuestId) -> bool) {
    world.update_with(|tables, txn| emulate(tables, txn, which)).await;
}

/// A cluster whose guests are all emulated, by QEMU 7.2.
async fn emulated(guests: u128) -> Cluster {
    let cluster = Cluster::new(2, guests).await;
    emulate_in(&cluster.world, |_| true).await;
    cluster
}

fn warned(findings: &Value) -> bool {
    let mut all = findings.as_array().unwrap().iter();
    all.any(|one| one["check"] == EMULATED_MEMORY && one["blocks"] == false)
}

fn notes(of: &OperationRecord) -> usize {
    of.notes.iter().filter(|note| note.1.contains(EMULATED_MEMORY)).count()
}

#[tokio::test(start_paused = true)]
async fn a_policy_moves_those_that_lose_nothing() {
    let (world, balance) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), Says::default());
    emulate_in(&world, |guest| guest != guest_id(6)).await;
    world.update(|txn| txn.put(policy(Level::Moderate))).await;
    balance.reconcile().await.unwrap();
    let tables = world.records.read();
    let moved: Vec<GuestId> = tables.operations.iter().map(|of| of.migration.guest).collect();
    assert_eq!(moved, [guest_id(6)]);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_host_knows_blocks_a_policys_move_and_is_not_held_against_a_person() {
    let (world, balance) = uneven().await;
    let old = Some(RunningQemu::Known { version: "7.2.22".to_owned() });
    connect(&world, host_id(1), Says { qemu: old, ..Says::default() });
    connect(&world, host_id(2), Says::default());
    emulate_in(&world, |_| true).await;
    world
        .update(|txn| {
            // As is installed by now.
            for n in [1, 2] {
                let mut host = host(n, 4.0, 64);
                host.capabilities.qemu = "10.0.13".to_owned();
                txn.put(HostRecord { host, disturbed: None });
            }
            txn.put(policy(Level::Moderate));
        })
        .await;
    balance.reconcile().await.unwrap();
    world.settle().await;
    let tables = world.records.read();
    let failed: Vec<(FailureKind, &str)> = tables
        .operations
        .iter()
        .filter_map(|of| match &of.migration.state {
            MigrationState::Failed { cause, .. } => Some((cause.kind, cause.message.as_str())),
            _ => None,
        })
        .collect();
    assert!(!failed.is_empty() && failed.len() == tables.operations.len(), "{failed:?}");
    for (kind, text) in failed {
        assert_eq!(kind, FailureKind::Preflight);
        assert!(text.contains("QEMU 7.2.22 on h1") && text.contains("10.0.13 by now"), "{text}");
    }
    assert_eq!(tables.refusals.len(), 0, "a person may move it");
}

#[tokio::test(start_paused = true)]
async fn a_person_is_warned_and_the_guest_goes() {
    let mut cluster = emulated(4).await;
    let (_, check) = cluster.call("GET", "/v1/guests/vm1/check?to=h2", None).await;
    let target = &check["targets"][0];
    assert!(target["allowed"] == true && warned(&target["findings"]), "{check}");
    let wish = |dry_run: bool| json!({"to": "h2", "dry_run": dry_run});
    let (status, dry) = cluster.call("POST", "/v1/guests/vm1/migrate", Some(wish(true))).await;
    assert!(status == StatusCode::OK && warned(&dry["warnings"]), "{dry}");
    let (status, told) = cluster.call("POST", "/v1/guests/vm1/migrate", Some(wish(false))).await;
    assert!(status == StatusCode::ACCEPTED && warned(&told["warnings"]), "{told}");
    let several = json!({"guests": ["vm2", "vm3"]});
    let (status, told) = cluster.call("POST", "/v1/migrations", Some(several)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{told}");
    let all = told["warnings"].as_array().unwrap();
    assert!(all.len() == 2 && all.iter().all(|one| warned(&one["findings"])), "{told}");
    // Whoever empties its host wants it away as well.
    let (status, dry) = cluster.drain(json!({"dry_run": true})).await;
    assert!(status == StatusCode::OK && dry.to_string().contains(EMULATED_MEMORY), "{dry}");
    let (status, told) = cluster.drain(json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{told}");
    cluster.until("drained", Cluster::is_drained).await;
    let tables = cluster.world.records.read();
    assert_eq!(tables.operations.iter().map(notes).collect::<Vec<_>>(), [1; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_drover_itself_empties_keeps_it_and_says_why() {
    let mut cluster = emulated(1).await;
    let begun = cluster.world.clock.now();
    let of_policy = MaintenanceRecord {
        host: host_id(1),
        phase: MaintenancePhase::Draining,
        who: "policy power".to_owned(),
        initiative: Initiative::Own,
        begun,
        drained: None,
        to_labels: Default::default(),
        settings: MigrationSettings::default(),
        guests: 1,
        hanging: vec![],
    };
    cluster.world.update(|txn| txn.put(of_policy)).await;
    for _ in 0..3 {
        cluster.turn().await;
    }
    let tables = cluster.world.records.read();
    assert_eq!(tables.operations.len(), 0);
    let hanging = &tables.maintenance.get(host_id(1)).unwrap().hanging;
    assert!(hanging.len() == 1 && hanging[0].why.contains("QEMU 7.2.22"), "{hanging:?}");
}

#[tokio::test(start_paused = true)]
async fn a_preview_moves_whom_a_person_names_and_no_others() {
    let (world, _) = uneven().await;
    connect(&world, host_id(1), Says::default());
    connect(&world, host_id(2), Says::default());
    emulate_in(&world, |_| true).await;
    let token = world.token(drover_api::v1::Role::Operator).await;
    let preview = async |goal: Value| {
        let wanted = Some(json!({"goal": goal}));
        let (status, plan) = world.call("POST", "/v1/plans/preview", Some(&token), wanted).await;
        assert_eq!(status, StatusCode::CREATED, "{plan}");
        plan
    };
    let evens_out = preview(json!({"for": "balance", "level": 3})).await;
    assert_eq!(evens_out["batches"], json!([]), "{evens_out}");
    let named = preview(json!({"for": "place", "guest": "vm1", "to": "h2"})).await;
    assert_eq!(named["batches"][0][0]["guest"], "vm1", "{named}");
    let path = format!("/v1/plans/{}/apply", named["id"].as_str().unwrap());
    let (status, applied) = world.call("POST", &path, Some(&token), Some(json!({}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{applied}");
    assert_eq!(world.records.read().operations.iter().map(notes).collect::<Vec<_>>(), [1]);
}
