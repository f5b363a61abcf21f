//! A transfer that does not end by itself: what the agent does about it, and tells.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use drover_agent_api::v1::migration_update::Body;
use drover_agent_api::v1::{FailureKind, StartMigration, command::Action};
use drover_model::{
    Bytes, GuestId, GuestState, MigrationProgress, MigrationSettings, OperationId, PostCopy,
};
use drover_ports::{HypervisorError, HypervisorEvent};
use support::Agent;
use support::controller::Controller;
use support::hypervisor::Scripted;
use support::joined_state_dir;
use support::pki::Pki;

const GUEST: GuestId = GuestId::from_u128(1);
const MOVE: OperationId = OperationId::from_u128(77);
/// The link carries this a second, and each pass begins with twice as much.
const MIB: u64 = 1 << 20;
const CARRIED: u64 = 20 * MIB;

/// Pass `pass` of a guest that dirties as fast as it is sent: each takes 2 s.
fn look(pass: u32) -> MigrationProgress {
    let begun = u64::from(pass) * 2;
    MigrationProgress {
        elapsed_ms: begun * 1000,
        total: Bytes(256 * MIB),
        processed: Bytes(begun * CARRIED),
        remaining: Bytes(2 * CARRIED),
        throughput: Bytes(CARRIED),
        iteration: pass,
        expected_downtime_ms: Some(2000),
        ..MigrationProgress::default()
    }
}

/// Goes through passes and gives what was told beside the progress.
async fn told_in(
    controller: &mut Controller,
    hypervisor: &Scripted,
    passes: std::ops::Range<u32>,
) -> Vec<Body> {
    let mut told = Vec::new();
    for pass in passes {
        hypervisor.set_job(GUEST, Some(look(pass)));
        hypervisor.emit(HypervisorEvent::MigrationIteration { guest: GUEST, iteration: pass });
        // Until that look was taken; a look in between sees the same.
        loop {
            match controller.any_update().await {
                Body::ProgressJson(json) => {
                    let seen: MigrationProgress = serde_json::from_slice(&json).unwrap();
                    if seen.iteration == pass {
                        break;
                    }
                }
                body => told.push(body),
            }
        }
    }
    told
}

/// The limits that were set, milliseconds.
fn downtimes(hypervisor: &Scripted) -> Vec<u64> {
    let prefix = format!("{GUEST} downtime ");
    let all = hypervisor.adjusted();
    all.iter().filter_map(|one| one.strip_prefix(&prefix)?.parse().ok()).collect()
}

async fn begun(settings: MigrationSettings) -> (Controller, std::sync::Arc<Scripted>, Agent) {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki).await;
    let state = joined_state_dir(&pki, &controller.url());
    let hypervisor = Scripted::new();
    let agent = Agent::start(state.path(), "", hypervisor.clone());
    controller.inventory().await;
    hypervisor.put(GUEST, GuestState::Running);
    let start = StartMigration {
        target_host_id: "x".to_owned(),
        peer_uri: "qemu+tls://h2/system".to_owned(),
        migration_address: "10.0.0.2".to_owned(),
        settings_json: serde_json::to_vec(&settings).unwrap(),
        ..Default::default()
    };
    controller.order("c1", MOVE, GUEST, 5, Action::StartMigration(start));
    // A job that is there before it began would be followed, as one of an earlier agent.
    controller.any_update().await;
    (controller, hypervisor, agent)
}

#[tokio::test]
async fn the_limit_is_raised_within_the_guests_maximum_and_then_it_is_given_up() {
    let settings = MigrationSettings {
        max_downtime_ms: 3000,
        timeout_s: Some(60),
        ..MigrationSettings::default()
    };
    let (mut controller, hypervisor, agent) = begun(settings).await;
    let told = told_in(&mut controller, &hypervisor, 1..12).await;
    assert_eq!(hypervisor.sent()[0].settings.max_downtime_ms, 300, "what it begins with");
    // A pass would need 2 s by what is measured to be sent.
    let first = downtimes(&hypervisor)[0];
    assert!((2000..2200).contains(&first), "{first}");
    let Some(Body::Note(note)) = told.first() else { panic!("{told:?}") };
    let expected = format!("downtime limit {first} ms: passes do not get shorter");
    assert!(note.starts_with(&expected), "{note}");

    told_in(&mut controller, &hypervisor, 12..32).await;
    assert_eq!(hypervisor.cancelled(), 1);
    assert_eq!(downtimes(&hypervisor).pop(), Some(3000), "never beyond the maximum");
    hypervisor.end_job(GUEST, Err(HypervisorError::Cancelled("by libvirt".to_owned())));
    let failure = loop {
        match controller.update().await {
            Body::Failed(failure) => break failure,
            Body::Note(_) => {}
            other => panic!("{other:?}"),
        }
    };
    // Nobody asked for it, so it is no cancelled migration.
    assert_eq!(failure.kind(), FailureKind::Conflict);
    assert!(failure.message.contains("try again"), "{}", failure.message);
    agent.stop().await;
}

#[tokio::test]
async fn post_copy_is_the_controllers_to_decide() {
    let settings = MigrationSettings {
        max_downtime_ms: 1000,
        post_copy: PostCopy::Allow,
        ..MigrationSettings::default()
    };
    let (mut controller, hypervisor, agent) = begun(settings).await;
    let told = told_in(&mut controller, &hypervisor, 1..12).await;
    let wishes = told.iter().filter(|body| matches!(body, Body::WantsPostCopy(_))).count();
    // Once, and again after 5 s of the job without an answer.
    assert!(wishes >= 2, "{told:?}");
    assert!(hypervisor.adjusted().is_empty(), "the agent switches nothing by itself");
    agent.stop().await;
}

#[tokio::test]
async fn a_forced_finish_pauses_the_guest_where_no_limit_does() {
    let settings = MigrationSettings {
        max_downtime_ms: 500,
        quickly_finish: true,
        ..MigrationSettings::default()
    };
    let (mut controller, hypervisor, agent) = begun(settings).await;
    let told = told_in(&mut controller, &hypervisor, 1..16).await;
    let set = downtimes(&hypervisor);
    assert!(set.len() == 1 && (2400..2600).contains(&set[0]), "{set:?}");
    assert_eq!(hypervisor.suspended(), 1, "{told:?}");
    agent.stop().await;
}
