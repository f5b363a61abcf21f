//! What hosts say of their guests, and what droverd makes of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use drover_api::v1::Role;
use drover_controller::inventory::{Finding, compare, enter};
use drover_controller::reconcile::{Reconcile as _, ReviewCopies};
use drover_controller::records::HostRecord;
use drover_model::{Guest, GuestState, HostId};
use drover_ports::Clock as _;
use drover_testkit::{guest, host, host_id};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::world::World;

/// Two hosts whose agents are connected.
async fn two_hosts() -> World {
    let world = World::new().await;
    for number in 1..=2 {
        let record = HostRecord { host: host(number, 8.0, 64), disturbed: None };
        world.update(|txn| txn.put(record)).await;
        let (sender, receiver) = mpsc::channel(8);
        // The agent's end stays open.
        std::mem::forget(receiver);
        world.live.connect(host_id(number), sender, world.clock.now());
    }
    world
}

/// A host tells all its guests; what was found.
async fn tells(world: &World, at: HostId, guests: &[Guest]) -> Vec<String> {
    let now = world.clock.now();
    let active: HashSet<_> =
        guests.iter().filter(|guest| guest.state.is_active()).map(|guest| guest.id).collect();
    world.live.inventory(at, true, active);
    let mut names = Vec::new();
    world
        .update_with(|tables, txn| {
            let findings = compare(tables, at, guests, &*world.live);
            let unclear = findings.iter().filter_map(|finding| match finding {
                Finding::Unclear { guest, .. } => Some(guest.clone()),
                _ => None,
            });
            world.live.unclear(at, unclear.collect(), now);
            for finding in findings {
                let text = format!("{finding:?}");
                names.extend(text.split(['(', ' ']).next().map(str::to_owned));
                let draft = enter(tables, txn, "h", finding);
                world.said.lock().unwrap().extend(draft.map(|draft| draft.kind().to_owned()));
            }
        })
        .await;
    names
}

async fn review(world: &World) {
    let copies = ReviewCopies {
        records: Arc::clone(&world.records),
        live: Arc::clone(&world.live),
        events: Arc::clone(&world.api.events),
        clock: world.clock.clone(),
    };
    copies.reconcile().await.unwrap();
}

async fn events(world: &World, kind: &str) -> usize {
    let token = world.token(Role::Viewer).await;
    let (_, events) = world.call("GET", "/v1/events", Some(&token), None).await;
    let of_kind = |event: &&Value| event["kind"] == kind;
    events["items"].as_array().unwrap().iter().filter(of_kind).count()
}

fn paused_for_migration(mut guest: Guest) -> Guest {
    guest.state = GuestState::PausedForMigration;
    guest
}

fn owner(world: &World, of: &Guest) -> HostId {
    world.records.read().owners.get(of.id).unwrap().host
}

#[tokio::test]
async fn a_guest_is_adopted_changed_and_removed() {
    let world = two_hosts().await;
    let (h1, mut vm) = (host_id(1), guest(1, 1, 512));
    assert_eq!(tells(&world, h1, &[vm.clone()]).await, ["Adopt"]);
    assert!(tells(&world, h1, &[vm.clone()]).await.is_empty(), "no news");
    vm.state = GuestState::ShutOff;
    assert_eq!(tells(&world, h1, &[vm.clone()]).await, ["Changed"]);
    assert_eq!(world.said.lock().unwrap().clone(), ["guest.adopted", "guest.stopped"]);
    assert_eq!(tells(&world, h1, &[]).await, ["Disappeared"]);
    assert!(tells(&world, h1, &[]).await.is_empty(), "it is gone once");
    assert_eq!(tells(&world, h1, &[vm]).await, ["Changed"], "defined again");
}

#[tokio::test]
async fn a_migration_by_another_hand_is_no_double_guest() {
    let world = two_hosts().await;
    let (h1, h2) = (host_id(1), host_id(2));
    let after = guest(1, 2, 512);
    tells(&world, h1, &[guest(1, 1, 512)]).await;
    let arriving = paused_for_migration(after.clone());
    assert!(tells(&world, h2, &[arriving]).await.is_empty(), "a copy that cannot run");
    assert_eq!(
        tells(&world, h2, std::slice::from_ref(&after)).await,
        ["Unclear"],
        "h1 has yet to speak"
    );
    review(&world).await;
    assert!(tells(&world, h1, &[]).await.is_empty(), "h2 tells what became of it");
    world.clock.advance(Duration::from_secs(1));
    review(&world).await;
    assert_eq!(owner(&world, &after), h2, "known a second later, not with h2's next inventory");
    assert_eq!(events(&world, "guest.moved").await, 1);
    assert_eq!(events(&world, "guest.double").await + events(&world, "guest.removed").await, 0);
}

#[tokio::test]
async fn a_guest_that_runs_twice_is_told_once_and_left_alone() {
    let world = two_hosts().await;
    let (h1, h2) = (host_id(1), host_id(2));
    tells(&world, h1, &[guest(1, 1, 512)]).await;
    for _ in 0..15 {
        tells(&world, h2, &[guest(1, 2, 512)]).await;
        review(&world).await;
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(events(&world, "guest.double").await, 1);
    assert_eq!(owner(&world, &guest(1, 1, 512)), h1, "nothing was done");
    tells(&world, h1, &[]).await;
    review(&world).await;
    assert_eq!(owner(&world, &guest(1, 1, 512)), h2, "one copy is left: it is the guest");
}

#[tokio::test]
async fn a_silent_owner_has_not_given_its_guest_up() {
    let world = two_hosts().await;
    let (h1, h2) = (host_id(1), host_id(2));
    tells(&world, h1, &[guest(1, 1, 512)]).await;
    world.live.inventory(h1, false, HashSet::new());
    assert_eq!(tells(&world, h2, &[guest(1, 2, 512)]).await, ["Unclear"]);
    world.clock.advance(Duration::from_secs(11));
    review(&world).await;
    assert_eq!(events(&world, "guest.double").await, 1);
    assert_eq!(owner(&world, &guest(1, 1, 512)), h1);
}
