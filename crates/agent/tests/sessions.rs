//! Sessions: hello, inventories, samples, and what survives their end.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use drover_agent_api::v1::sample::Entity;
use drover_model::{Guest, GuestId, GuestState, HostCapabilities, HostId, Metric};
use support::controller::Controller;
use support::hypervisor::Scripted;
use support::pki::Pki;
use support::{Agent, HOST, joined_state_dir};

const GUEST: GuestId = GuestId::from_u128(1);

fn guests(inventory: &drover_agent_api::v1::Inventory) -> Vec<Guest> {
    serde_json::from_slice(&inventory.guests_json).unwrap()
}

#[tokio::test]
async fn a_session_begins_with_who_and_what() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki).await;
    let state = joined_state_dir(&pki, &controller.url());
    let hypervisor = Scripted::new();
    hypervisor.put(GUEST, GuestState::Running);
    let agent = Agent::start(state.path(), "", hypervisor.clone());

    let hello = controller.hello().await;
    assert_eq!(hello.host_id, HOST.to_string());
    assert_eq!(hello.host_name, "h1");
    assert_eq!(hello.migration_address, "127.0.0.1");
    assert_eq!(hello.peer_uri, "qemu+tls://127.0.0.1/system");
    let capabilities: HostCapabilities = serde_json::from_slice(&hello.capabilities_json).unwrap();
    assert_eq!(capabilities.libvirt, "9.0.0");
    assert!(capabilities.cores.0 > 0.0 && capabilities.memory.0 > 0);
    let inventory = controller.inventory().await;
    assert!(inventory.hypervisor_connected && inventory.capabilities_json.is_empty());
    assert_eq!(guests(&inventory)[0].id, GUEST);

    hypervisor.put(GUEST, GuestState::Paused);
    assert_eq!(guests(&controller.inventory().await)[0].state, GuestState::Paused);
    hypervisor.set_out_of_reach(true);
    let inventory = controller.inventory().await;
    assert!(!inventory.hypervisor_connected && inventory.guests_json.is_empty());

    let samples = controller.samples().await;
    assert!(matches!(samples.samples[0].entity, Some(Entity::Host(true))));
    let metrics: Vec<u32> = samples.samples[0].values.iter().map(|value| value.metric).collect();
    assert!(metrics.contains(&Metric::MemAvailable.code().into()));
    agent.stop().await;
}

#[tokio::test]
async fn samples_are_kept_while_the_controller_is_away_and_delivered_once() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki).await;
    let state = joined_state_dir(&pki, &controller.url());
    let agent = Agent::start(state.path(), "", Scripted::new());
    let first = controller.hello().await;
    let acknowledged = controller.samples().await.sequence;
    controller.acknowledge(acknowledged);
    // Sent but not acknowledged: must come again.
    let unacknowledged = controller.samples().await.sequence;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let address = controller.die().await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let mut controller = Controller::start_at(&pki, address, 100).await;
    assert_eq!(controller.hello().await.incarnation, first.incarnation);
    let mut seen = BTreeSet::new();
    let mut last_at = 0;
    while seen.len() < 25 {
        let samples = controller.samples().await;
        assert!(samples.sequence > acknowledged);
        assert!(seen.insert(samples.sequence), "{} came twice", samples.sequence);
        assert!(samples.samples[0].at_ms > last_at);
        last_at = samples.samples[0].at_ms;
        controller.acknowledge(samples.sequence);
    }
    // Without a gap from the first unacknowledged one on.
    let expected: BTreeSet<u64> = (unacknowledged..).take(25).collect();
    assert_eq!(seen, expected);
    agent.stop().await;
}

#[tokio::test]
async fn unacknowledged_samples_do_not_fill_the_link() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki).await;
    let state = joined_state_dir(&pki, &controller.url());
    let agent = Agent::start(state.path(), "sample_interval = \"100ms\"", Scripted::new());
    controller.hello().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let count = controller
        .backlog()
        .iter()
        .filter(|body| matches!(body, drover_agent_api::v1::from_agent::Body::Samples(_)))
        .count();
    assert_eq!(count, 8);
    agent.stop().await;
}

#[tokio::test]
async fn a_second_agent_and_another_host_are_refused() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki).await;
    let state = joined_state_dir(&pki, &controller.url());
    let agent = Agent::start(state.path(), "", Scripted::new());
    controller.hello().await;
    let error = Agent::start(state.path(), "", Scripted::new()).failure().await;
    assert!(error.contains("another drover-agent"), "{error}");
    agent.stop().await;

    let moved = Scripted::new();
    moved.is_host(HostId::from_u128(0xB));
    let error = Agent::start(state.path(), "", moved).failure().await;
    assert!(error.contains("joined as"), "{error}");
}

#[tokio::test]
async fn a_controller_of_another_ca_hears_nothing() {
    let pki = Pki::new();
    let mut stranger = Controller::start(&Pki::new()).await;
    let state = joined_state_dir(&pki, &stranger.url());
    let agent = Agent::start(state.path(), "", Scripted::new());
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(stranger.backlog().is_empty());
    agent.stop().await;
}
