//! Guests that are shut off: copied, checked, defined, started and removed; each command
//! repeated and across restarts of the agent.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use drover_agent_api::v1::migration_update::Body;
use drover_agent_api::v1::{
    AcceptIncoming, CancelMigration, DefineIncoming, DiscardIncoming, FailureKind, RemoveDeparted,
    StartGuest, StartMigration, command::Action,
};
use drover_model::{
    Bytes, ColdCopy, DiskCopy, GuestId, GuestState, MigrationMode, MigrationSettings, OperationId,
};
use support::controller::Controller;
use support::hypervisor::Scripted;
use support::pki::Pki;
use support::{Agent, joined_state_dir};

const GUEST: GuestId = GuestId::from_u128(1);
const MOVE: OperationId = OperationId::from_u128(77);

/// Both ends of a move on one host: the target's hypervisor writes to this machine's files.
struct Stage {
    controller: Controller,
    hypervisor: Arc<Scripted>,
    state: tempfile::TempDir,
    images: tempfile::TempDir,
    agent: Agent,
    commands: u32,
    epoch: u64,
}

impl Stage {
    async fn new() -> Self {
        let pki = Pki::new();
        let mut controller = Controller::start(&pki).await;
        let state = joined_state_dir(&pki, &controller.url());
        let hypervisor = Scripted::new();
        let agent = Agent::start(state.path(), "", hypervisor.clone());
        controller.inventory().await;
        let images = tempfile::tempdir().unwrap();
        for name in ["source", "target"] {
            std::fs::create_dir(images.path().join(name)).unwrap();
        }
        let mut pattern = vec![0; 3 << 20];
        pattern.extend((0..2_000_000_u32).map(|number| (number % 251) as u8));
        std::fs::write(images.path().join("source/disk"), pattern).unwrap();
        let mut stage =
            Self { controller, hypervisor, state, images, agent, commands: 0, epoch: 5 };
        stage.is_off();
        stage
    }

    fn is_off(&mut self) {
        self.hypervisor.put(GUEST, GuestState::ShutOff);
        let from = self.source();
        let xml = format!("<domain><name>g</name><source file='{}'/></domain>", from.display());
        self.hypervisor.describe_guest(GUEST, &xml);
    }

    fn source(&self) -> PathBuf {
        self.images.path().join("source/disk")
    }

    fn target(&self) -> PathBuf {
        self.images.path().join("target/disk")
    }

    fn disks(&self) -> Vec<u8> {
        let copy = DiskCopy {
            disk: "vda".to_owned(),
            from: self.source().to_string_lossy().into_owned(),
            to: self.target().to_string_lossy().into_owned(),
            format: "raw".to_owned(),
            capacity: Bytes(5_000_000),
            allocation: Bytes(2_000_000),
            backing: None,
        };
        serde_json::to_vec(&vec![copy]).unwrap()
    }

    fn accept(&self) -> Action {
        Action::AcceptIncoming(AcceptIncoming {
            source_host_id: "x".to_owned(),
            disks_json: self.disks(),
            cold: true,
            ..Default::default()
        })
    }

    fn start(&self, cap: Option<u64>) -> Action {
        let settings = MigrationSettings {
            mode: MigrationMode::Cold,
            max_bandwidth_mib_s: cap,
            ..MigrationSettings::default()
        };
        Action::StartMigration(StartMigration {
            target_host_id: "x".to_owned(),
            peer_uri: "qemu+tls://h2/system".to_owned(),
            settings_json: serde_json::to_vec(&settings).unwrap(),
            disks_json: self.disks(),
            ..Default::default()
        })
    }

    /// Without waiting for the answer: updates may come before it.
    fn order(&mut self, action: Action) -> String {
        self.commands += 1;
        let id = format!("c{}", self.commands);
        self.controller.order(&id, MOVE, GUEST, self.epoch, action);
        id
    }

    async fn ask(&mut self, action: Action) -> Option<FailureKind> {
        let id = self.order(action);
        self.controller.result(&id).await.failure.map(|failure| failure.kind())
    }

    async fn copied(&mut self) -> ColdCopy {
        match self.controller.update().await {
            Body::CopiedJson(json) => serde_json::from_slice(&json).unwrap(),
            other => panic!("not copied: {other:?}"),
        }
    }

    async fn failed(&mut self) -> (FailureKind, String) {
        match self.controller.update().await {
            Body::Failed(failure) => (failure.kind(), failure.message),
            other => panic!("not failed: {other:?}"),
        }
    }

    async fn restart_agent(self) -> Self {
        self.agent.stop().await;
        let agent = Agent::start(self.state.path(), "", self.hypervisor.clone());
        let mut controller = self.controller;
        controller.hello().await;
        controller.inventory().await;
        Self { agent, controller, ..self }
    }
}

fn define(copied: &ColdCopy) -> Action {
    Action::DefineIncoming(DefineIncoming { copied_json: serde_json::to_vec(copied).unwrap() })
}

const fn discard(keep_disks: bool) -> Action {
    Action::DiscardIncoming(DiscardIncoming { keep_disks, may_have_run: false })
}

const fn start_guest() -> Action {
    Action::StartGuest(StartGuest { definition: String::new() })
}

#[tokio::test]
async fn a_guest_is_copied_checked_defined_started_and_removed() {
    let mut stage = Stage::new().await;
    assert_eq!(stage.ask(stage.accept()).await, None);
    assert_eq!(stage.ask(stage.accept()).await, None);
    stage.order(stage.start(None));
    let copied = stage.copied().await;
    let same = || std::fs::read(stage.source()).unwrap() == std::fs::read(stage.target()).unwrap();
    assert!(same());
    assert!(copied.definition.contains("/target/disk"), "{}", copied.definition);
    stage.order(stage.start(None));
    assert_eq!(stage.copied().await, copied, "told again");

    let mut stage = stage.restart_agent().await;
    assert_eq!(stage.ask(define(&copied)).await, None);
    assert_eq!(stage.ask(define(&copied)).await, None);
    assert_eq!(stage.hypervisor.definition(GUEST), Some(copied.definition));
    assert_eq!(stage.hypervisor.state_of(GUEST), Some(GuestState::ShutOff));
    stage.epoch += 1;
    assert_eq!(stage.ask(start_guest()).await, None);
    assert_eq!(stage.ask(start_guest()).await, None);
    assert_eq!(stage.hypervisor.state_of(GUEST), Some(GuestState::Running));

    let remove = || Action::RemoveDeparted(RemoveDeparted { disks_json: stage.disks() });
    let (first, again) = (remove(), remove());
    assert_eq!(stage.ask(first).await, Some(FailureKind::Conflict), "it runs here");
    assert!(stage.source().exists());
    stage.is_off();
    assert_eq!(stage.ask(again.clone()).await, None);
    assert_eq!(stage.ask(again).await, None);
    assert!(!stage.source().exists());
    let directory = stage.source().parent().unwrap().to_str().unwrap().to_owned();
    assert!(stage.hypervisor.refreshed().contains(&directory), "libvirt's pool is to know");
    assert_eq!(stage.hypervisor.state_of(GUEST), None);
    stage.agent.stop().await;
}

#[tokio::test]
async fn what_arrives_changed_is_not_defined_and_goes_with_the_discard() {
    let mut stage = Stage::new().await;
    stage.ask(stage.accept()).await;
    stage.order(stage.start(None));
    let copied = stage.copied().await;
    let mut bytes = std::fs::read(stage.target()).unwrap();
    bytes[4_000_000] ^= 1;
    std::fs::write(stage.target(), bytes).unwrap();
    let before = stage.hypervisor.definition(GUEST);
    assert_eq!(stage.ask(define(&copied)).await, Some(FailureKind::Refused));
    assert_eq!(stage.hypervisor.definition(GUEST), before);
    let mut stage = stage.restart_agent().await;
    assert_eq!(stage.ask(discard(false)).await, None);
    assert!(!stage.target().exists() && stage.source().exists());
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_discard_takes_back_what_was_defined() {
    let mut stage = Stage::new().await;
    stage.ask(stage.accept()).await;
    stage.order(stage.start(None));
    let copied = stage.copied().await;
    stage.ask(define(&copied)).await;
    let mut stage = stage.restart_agent().await;
    assert_eq!(stage.ask(discard(true)).await, None);
    assert_eq!(stage.hypervisor.state_of(GUEST), None);
    assert!(stage.target().exists(), "it was to be kept");
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_guest_that_is_started_meanwhile_is_not_handed_over() {
    let mut stage = Stage::new().await;
    stage.ask(stage.accept()).await;
    stage.ask(stage.start(Some(2))).await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    let (kind, why) = stage.failed().await;
    assert_eq!(kind, FailureKind::Conflict, "{why}");
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_disk_that_is_written_to_meanwhile_is_not_handed_over() {
    let mut stage = Stage::new().await;
    stage.ask(stage.accept()).await;
    stage.ask(stage.start(Some(2))).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mut bytes = std::fs::read(stage.source()).unwrap();
    bytes[0] = 1;
    std::fs::write(stage.source(), bytes).unwrap();
    let (kind, why) = stage.failed().await;
    assert!(kind == FailureKind::Conflict && why.contains("written to"), "{kind:?} {why}");
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_copy_ends_when_asked() {
    let mut stage = Stage::new().await;
    stage.ask(stage.accept()).await;
    stage.ask(stage.start(Some(1))).await;
    assert_eq!(stage.ask(Action::CancelMigration(CancelMigration {})).await, None);
    assert_eq!(stage.failed().await.0, FailureKind::Cancelled);
    assert_eq!(stage.ask(discard(false)).await, None);
    assert!(!stage.target().exists());
    stage.agent.stop().await;
}

#[tokio::test]
async fn only_a_guest_that_is_shut_off_is_copied() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.order(stage.start(None));
    assert_eq!(stage.failed().await.0, FailureKind::Conflict);
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_rescued_guest_is_defined_and_started_once() {
    let mut stage = Stage::new().await;
    stage.hypervisor.forget(GUEST);
    let rescue =
        || Action::StartGuest(StartGuest { definition: "<domain>kept</domain>".to_owned() });
    assert_eq!(stage.ask(rescue()).await, None);
    assert_eq!(stage.hypervisor.definition(GUEST).as_deref(), Some("<domain>kept</domain>"));
    assert_eq!(stage.ask(rescue()).await, None);
    assert_eq!(stage.hypervisor.state_of(GUEST), Some(GuestState::Running));
    stage.agent.stop().await;
}
