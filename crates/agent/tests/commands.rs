//! Commands: each repeated, out of order, stale, and across restarts of the agent.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use drover_agent_api::v1::migration_update::Body;
use drover_agent_api::v1::{
    AcceptIncoming, CancelMigration, DiscardIncoming, FailureKind, RemoveDeparted, Resume,
    StartMigration, command::Action, from_agent,
};
use drover_model::{
    BrokenStream, Bytes, GuestId, GuestState, MigrationOutcome, MigrationProgress,
    MigrationSettings, OperationId,
};
use drover_ports::{HypervisorError, HypervisorEvent, IncomingDisposal};
use support::controller::Controller;
use support::hypervisor::{Scripted, progress};
use support::pki::Pki;
use support::{Agent, RECOVERY, joined_state_dir};

const GUEST: GuestId = GuestId::from_u128(1);
const MOVE: OperationId = OperationId::from_u128(77);

struct Stage {
    controller: Controller,
    hypervisor: Arc<Scripted>,
    state: tempfile::TempDir,
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
        Self { controller, hypervisor, state, agent, commands: 0, epoch: 5 }
    }

    fn order(&mut self, action: Action) -> String {
        self.order_for(MOVE, action)
    }

    fn order_for(&mut self, operation: OperationId, action: Action) -> String {
        self.commands += 1;
        let id = format!("c{}", self.commands);
        self.controller.order(&id, operation, GUEST, self.epoch, action);
        id
    }

    async fn ask(&mut self, action: Action) -> Option<FailureKind> {
        let id = self.order(action);
        self.controller.result(&id).await.failure.map(|failure| failure.kind())
    }

    /// For longer than a look takes.
    async fn says_nothing(&mut self) {
        let said = self.controller.update();
        let said = tokio::time::timeout(Duration::from_secs(1), said).await;
        assert!(said.is_err(), "{said:?}");
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

fn accept() -> Action {
    Action::AcceptIncoming(AcceptIncoming { source_host_id: "x".to_owned(), ..Default::default() })
}

fn start() -> Action {
    Action::StartMigration(StartMigration {
        target_host_id: "x".to_owned(),
        peer_uri: "qemu+tls://h2/system".to_owned(),
        migration_address: "10.0.0.2".to_owned(),
        settings_json: serde_json::to_vec(&MigrationSettings::default()).unwrap(),
        ..Default::default()
    })
}

/// The guest is the target's from here on, and the source is to switch.
fn start_post_copy() -> Action {
    match start() {
        Action::StartMigration(start) => {
            Action::StartMigration(StartMigration { post_copy: true, ..start })
        }
        other => other,
    }
}

fn remove() -> Action {
    Action::RemoveDeparted(RemoveDeparted::default())
}

const fn cancel() -> Action {
    Action::CancelMigration(CancelMigration {})
}

fn resume() -> Action {
    Action::Resume(Resume::default())
}

fn discard() -> Action {
    Action::DiscardIncoming(DiscardIncoming::default())
}

const OUTCOME: MigrationOutcome = MigrationOutcome {
    total_ms: 9,
    downtime_ms: Some(3),
    transferred: Some(Bytes(5)),
    iterations: Some(2),
    blackout_ms: None,
};

fn finished(body: &Body) -> MigrationOutcome {
    match body {
        Body::FinishedJson(json) => serde_json::from_slice(json).unwrap(),
        other => panic!("not finished: {other:?}"),
    }
}

fn failed(body: &Body) -> FailureKind {
    match body {
        Body::Failed(failure) => failure.kind(),
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn a_migration_is_told_step_by_step_and_again_when_asked() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    assert_eq!(stage.ask(start()).await, None);
    assert_eq!(stage.ask(start()).await, None);
    assert!(matches!(stage.controller.any_update().await, Body::ProgressJson(_)));
    stage.hypervisor.emit(HypervisorEvent::MigrationIteration { guest: GUEST, iteration: 2 });
    assert!(matches!(stage.controller.any_update().await, Body::ProgressJson(_)));

    stage.hypervisor.end_process(GUEST);
    assert_eq!(stage.controller.update().await, Body::SourceGone(true));
    stage.order(start());
    assert_eq!(stage.controller.update().await, Body::SourceGone(true));
    stage.hypervisor.forget(GUEST);
    stage.hypervisor.end_job(GUEST, Ok(OUTCOME));
    assert_eq!(finished(&stage.controller.update().await), OUTCOME);
    stage.order(start());
    assert_eq!(finished(&stage.controller.update().await), OUTCOME);

    let sent = stage.hypervisor.sent();
    assert_eq!(sent.len(), 1, "one job, however often it is asked for");
    assert!(sent[0].disks_declared_shared);
    assert_eq!(sent[0].migration_address, "10.0.0.2");
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_failed_job_is_told_and_a_known_failure_hides_the_process_end() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Refused("no".to_owned())));
    stage.order(start());
    assert_eq!(failed(&stage.controller.update().await), FailureKind::Refused);

    // QEMU crashed in mid-transfer: the process ends first, libvirt's word comes later.
    let second = OperationId::from_u128(78);
    stage.epoch += 1;
    stage.order_for(second, start());
    stage.controller.any_update().await;
    stage.hypervisor.end_process(GUEST);
    assert_eq!(stage.controller.update().await, Body::SourceGone(true));
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Broken("crash".to_owned())));
    assert_eq!(failed(&stage.controller.update().await), FailureKind::Broken);
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_migration_is_adopted_after_a_restart_and_followed_to_its_end() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.order(start());
    stage.controller.any_update().await;
    let mut stage = stage.restart_agent().await;
    stage.order(start());
    assert!(matches!(stage.controller.any_update().await, Body::ProgressJson(_)));
    // It may have been taken back and have died here: only libvirt tells that it has left.
    stage.hypervisor.put(GUEST, GuestState::PausedForMigration);
    stage.hypervisor.end_process(GUEST);
    stage.says_nothing().await;
    stage.hypervisor.forget(GUEST);
    let outcome = finished(&stage.controller.update().await);
    assert_eq!(outcome.transferred, Some(progress(1).processed));
    assert_eq!(stage.hypervisor.sent().len(), 1, "adopted, not begun again");

    // And once more from nothing: no trace of it is left, so it went.
    let mut stage = stage.restart_agent().await;
    stage.order(start());
    finished(&stage.controller.update().await);
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_watch_that_cannot_see_the_process_proves_nothing() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.hypervisor.end_process(GUEST);
    stage.ask(start()).await;
    let adopted = OperationId::from_u128(78);
    let other = GuestId::from_u128(2);
    stage.hypervisor.put(other, GuestState::Running);
    stage.hypervisor.end_process(other);
    stage.hypervisor.set_job(other, Some(progress(1)));
    stage.controller.order("other", adopted, other, 1, start());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let gone = stage.controller.backlog().into_iter().any(|body| {
        matches!(body, from_agent::Body::Migration(update) if update.body == Some(Body::SourceGone(true)))
    });
    assert!(!gone);
    stage.hypervisor.end_job(GUEST, Ok(OUTCOME));
    assert_eq!(finished(&stage.controller.update().await), OUTCOME);
    stage.agent.stop().await;
}

#[tokio::test]
async fn an_adopted_migration_that_ends_without_leaving_has_failed() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.hypervisor.set_job(GUEST, Some(progress(1)));
    stage.order(start());
    assert!(matches!(stage.controller.any_update().await, Body::ProgressJson(_)));
    stage.hypervisor.set_job(GUEST, None);
    assert_eq!(failed(&stage.controller.update().await), FailureKind::Broken);

    stage.hypervisor.put(GUEST, GuestState::PausedForMigration);
    stage.epoch += 1;
    stage.order_for(OperationId::from_u128(79), start());
    assert_eq!(failed(&stage.controller.update().await), FailureKind::Conflict);
    assert!(stage.hypervisor.sent().is_empty());
    stage.agent.stop().await;
}

/// Its process ended once all of it had been sent: libvirt's job goes on, and says so in the
/// end by removing the definition.
#[tokio::test]
async fn a_guest_that_is_off_may_still_turn_out_to_have_left() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::ShutOff);
    stage.order(start());
    stage.says_nothing().await;
    stage.hypervisor.forget(GUEST);
    finished(&stage.controller.update().await);
    stage.agent.stop().await;
}

/// The command may come late, or again: what was told stands.
#[tokio::test]
async fn what_was_told_to_be_over_is_not_begun_again_after_a_restart() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Refused("no".to_owned())));
    stage.order(start());
    assert_eq!(failed(&stage.controller.update().await), FailureKind::Refused);
    let sent = stage.hypervisor.sent().len();
    let mut stage = stage.restart_agent().await;
    stage.order(start());
    assert_eq!(failed(&stage.controller.update().await), FailureKind::Broken);
    assert_eq!(stage.hypervisor.sent().len(), sent, "it was sent again");
    // Under a new epoch it is another matter.
    stage.epoch += 1;
    stage.hypervisor.end_job(GUEST, Ok(OUTCOME));
    stage.order_for(OperationId::from_u128(78), start());
    finished(&stage.controller.update().await);
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_migration_out_of_sight_is_not_declared_failed() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.ask(start()).await;
    stage.hypervisor.set_out_of_reach(true);
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Retry("connection lost".to_owned())));
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.hypervisor.set_job(GUEST, Some(progress(3)));
    stage.hypervisor.put(GUEST, GuestState::PausedForMigration);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.hypervisor.set_out_of_reach(false);
    stage.hypervisor.end_process(GUEST);
    stage.says_nothing().await;
    stage.hypervisor.forget(GUEST);
    finished(&stage.controller.update().await);
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_running_migration_does_not_stand_before_its_own_cancellation() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.order(start());
    assert_eq!(stage.ask(cancel()).await, None);
    assert_eq!(stage.ask(cancel()).await, None);
    assert!(stage.hypervisor.cancelled() >= 2);
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Cancelled("asked".to_owned())));
    assert_eq!(failed(&stage.controller.update().await), FailureKind::Cancelled);
    assert_eq!(stage.ask(cancel()).await, None, "also when nothing runs any more");
    // The guest may be told to go on here; while it was leaving, it could not.
    assert_eq!(stage.ask(resume()).await, None);
    stage.agent.stop().await;
}

#[tokio::test]
async fn nothing_resumes_a_guest_while_it_leaves() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.ask(start()).await;
    stage.controller.any_update().await;
    let waiting = stage.order(resume());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.hypervisor.resumed(), 0);
    assert!(stage.hypervisor.cancelled() > 0, "it is wanted here");
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Broken("x".to_owned())));
    assert_eq!(stage.controller.result(&waiting).await.failure, None);
    stage.agent.stop().await;
}

/// The answer of libvirt's last phase was lost and the guest runs here again: when it ends
/// now, the target's copy knows nothing of what it wrote since.
#[tokio::test]
async fn an_adopted_guest_that_runs_and_ends_has_not_left() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::PausedForMigration);
    stage.hypervisor.set_job(GUEST, Some(progress(1)));
    stage.order(start());
    stage.controller.any_update().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.hypervisor.end_process(GUEST);
    stage.hypervisor.put(GUEST, GuestState::ShutOff);
    stage.says_nothing().await;
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_guest_that_has_not_quite_left_is_not_accepted_back_yet() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.ask(start()).await;
    stage.hypervisor.forget(GUEST);
    assert_eq!(stage.ask(accept()).await, Some(FailureKind::Retry));
    stage.hypervisor.end_job(GUEST, Ok(OUTCOME));
    finished(&stage.controller.update().await);
    assert_eq!(stage.ask(accept()).await, None);
    stage.agent.stop().await;
}

/// Its QEMU, or its whole host, died between the arrival and the resume.
#[tokio::test]
async fn a_guest_that_has_stopped_by_itself_is_not_waited_for() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::ShutOff);
    let stopped = HypervisorError::Conflict("domain is not running".to_owned());
    stage.hypervisor.refuse_resume(GUEST, Some(stopped));
    let asked = std::time::Instant::now();
    assert_eq!(stage.ask(resume()).await, Some(FailureKind::Refused));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_disk_that_is_refused_for_a_moment_does_not_end_a_resume() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Paused);
    let locked = HypervisorError::Broken("Failed to get \"write\" lock".to_owned());
    stage.hypervisor.refuse_resume(GUEST, Some(locked));
    let waiting = stage.order(resume());
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.hypervisor.refuse_resume(GUEST, None);
    assert_eq!(stage.controller.result(&waiting).await.failure, None);
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_guest_is_accepted_unless_it_is_active_here() {
    let mut stage = Stage::new().await;
    for (state, answer) in [
        (None, None),
        (Some(GuestState::ShutOff), None),
        (Some(GuestState::Running), Some(FailureKind::Conflict)),
        (Some(GuestState::PausedForMigration), Some(FailureKind::Conflict)),
    ] {
        if let Some(state) = state {
            stage.hypervisor.put(GUEST, state);
        }
        assert_eq!(stage.ask(accept()).await, answer, "{state:?}");
        assert_eq!(stage.ask(accept()).await, answer, "{state:?} again");
    }
    stage.hypervisor.set_out_of_reach(true);
    assert_eq!(stage.ask(accept()).await, Some(FailureKind::Retry));
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_resume_waits_for_the_arrival_and_answers_at_once() {
    let mut stage = Stage::new().await;
    let early = HypervisorError::Conflict("still arriving".to_owned());
    stage.hypervisor.refuse_resume(GUEST, Some(early));
    let waiting = stage.order(resume());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stage.hypervisor.resumed(), 0);
    stage.hypervisor.refuse_resume(GUEST, None);
    stage.hypervisor.emit(HypervisorEvent::Lifecycle { guest: GUEST });
    let asked = std::time::Instant::now();
    assert_eq!(stage.controller.result(&waiting).await.failure, None);
    assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
    assert_eq!(stage.ask(resume()).await, None);

    stage.hypervisor.refuse_resume(GUEST, Some(HypervisorError::Gone(GUEST)));
    assert_eq!(stage.ask(resume()).await, Some(FailureKind::Gone));
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_discard_of_a_higher_epoch_ends_a_waiting_resume() {
    let mut stage = Stage::new().await;
    let early = HypervisorError::Conflict("still arriving".to_owned());
    stage.hypervisor.refuse_resume(GUEST, Some(early));
    let waiting = stage.order(resume());
    stage.epoch += 1;
    stage.hypervisor.answer_discard(GUEST, Ok(IncomingDisposal::Discarded));
    assert_eq!(stage.ask(discard()).await, None);
    let failure = stage.controller.result(&waiting).await.failure.unwrap();
    assert_eq!(failure.kind(), FailureKind::StaleEpoch);
    stage.agent.stop().await;
}

#[tokio::test]
async fn discarding_is_done_when_nothing_is_left() {
    let mut stage = Stage::new().await;
    assert_eq!(stage.ask(discard()).await, None);
    stage.hypervisor.answer_discard(GUEST, Err(HypervisorError::Refused("has run".to_owned())));
    assert_eq!(stage.ask(discard()).await, Some(FailureKind::Refused));
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_stale_epoch_is_refused_also_after_a_restart() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.epoch = 9;
    assert_eq!(stage.ask(resume()).await, None);
    for _ in 0..2 {
        stage.epoch = 8;
        for action in [accept(), start(), cancel(), resume(), discard()] {
            assert_eq!(stage.ask(action).await, Some(FailureKind::StaleEpoch));
        }
        assert!(stage.hypervisor.sent().is_empty());
        stage.epoch = 9;
        assert_eq!(stage.ask(resume()).await, None);
        stage = stage.restart_agent().await;
    }
    stage.agent.stop().await;
}

/// That of the target is found at work on the guest at every look: QEMU does not answer it.
#[tokio::test]
async fn a_post_copy_whose_target_hangs_says_so() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.order(start_post_copy());
    stage.controller.any_update().await;
    stage.hypervisor.put(GUEST, GuestState::PostCopyFailed);
    stage.hypervisor.keep_target_busy();
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Broken("cut".to_owned())));
    let began = tokio::time::Instant::now();
    // Refused means that no further try helps; before, the line is merely broken.
    loop {
        let told = stage.controller.update().await;
        let Body::PostCopyFailed(why) = told else { panic!("{told:?}") };
        if why.kind() == FailureKind::Refused {
            break;
        }
        assert_eq!(why.kind(), FailureKind::Broken, "{why:?}");
    }
    assert!(began.elapsed() >= RECOVERY.hangs_after, "{:?}", began.elapsed());
    stage.agent.stop().await;
}

/// QEMU's own stream may outlive the break, and severing it may leave QEMU on the target deaf.
#[tokio::test]
async fn a_broken_stream_is_left_alone_before_it_is_severed() {
    let mut stage = broken_post_copy().await;
    let conflict = || HypervisorError::Conflict("QEMU reports migration is still running".into());
    let began = tokio::time::Instant::now();
    while stage.hypervisor.streams().last() != Some(&BrokenStream::Sever) {
        stage.hypervisor.end_job(GUEST, Err(conflict()));
        let Body::PostCopyFailed(_) = stage.controller.update().await else { panic!() };
    }
    assert!(began.elapsed() >= Duration::from_millis(RECOVERY.patience.at_least_ms));
    assert_eq!(stage.hypervisor.streams()[0], BrokenStream::Leave);
    stage.agent.stop().await;
}

/// It moves: there is nothing to sever, however long it takes.
#[tokio::test]
async fn a_broken_stream_that_moves_is_not_severed() {
    let mut stage = broken_post_copy().await;
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Conflict("it still runs".into())));
    let began = tokio::time::Instant::now();
    let mut sent = 1_000;
    while began.elapsed() < Duration::from_millis(2 * RECOVERY.patience.at_most_ms) {
        stage.hypervisor.end_job(GUEST, Err(HypervisorError::Conflict("it still runs".into())));
        let sent_more = MigrationProgress { processed: Bytes(sent), ..progress(2) };
        stage.hypervisor.set_job(GUEST, Some(sent_more));
        sent += 1;
        tokio::time::sleep(RECOVERY.look).await;
    }
    assert!(!stage.hypervisor.streams().contains(&BrokenStream::Sever));
    assert!(matches!(stage.controller.any_update().await, Body::ProgressJson(_)));
    // It has ended by itself.
    stage.hypervisor.set_job(GUEST, None);
    stage.hypervisor.forget(GUEST);
    stage.hypervisor.end_process(GUEST);
    finished(&stage.controller.update().await);
    stage.agent.stop().await;
}

/// A libvirt that cannot go on is not asked to, and the loss of memory is not advised before it is
/// sure.
#[tokio::test]
async fn a_target_that_cannot_go_on_is_told_once_the_stream_has_had_its_time() {
    let mut stage = broken_post_copy().await;
    let began = tokio::time::Instant::now();
    loop {
        let refused = HypervisorError::Refused("libvirt 11.3.0 on the target cannot".into());
        stage.hypervisor.end_job(GUEST, Err(refused));
        let Body::PostCopyFailed(why) = stage.controller.update().await else { panic!() };
        if why.kind() == FailureKind::Refused {
            assert!(why.message.contains("cannot be gone on with: "), "{why:?}");
            assert!(why.message.contains("11.3.0") && why.message.contains("virsh destroy"));
            break;
        }
        assert!(!why.message.contains("destroy"), "{why:?}");
    }
    assert!(began.elapsed() >= Duration::from_millis(RECOVERY.patience.at_least_ms));
    stage.agent.stop().await;
}

/// The target answers again: what was said while it did not is no longer so.
#[tokio::test]
async fn what_is_told_of_a_broken_stream_is_what_is_known_now() {
    let mut stage = broken_post_copy().await;
    for (error, part) in [
        (HypervisorError::Retry("no route to host".into()), "no route"),
        (HypervisorError::Conflict("it still runs".into()), "the target answers"),
        (HypervisorError::Retry("no route to host".into()), "no route"),
    ] {
        stage.hypervisor.end_job(GUEST, Err(error));
        let Body::PostCopyFailed(why) = stage.controller.update().await else { panic!() };
        assert!(why.message.contains(part) && !why.message.contains("destroy"), "{why:?}");
    }
    stage.agent.stop().await;
}

/// How long the line was dead an agent that begins anew cannot know.
#[tokio::test]
async fn a_break_that_nobody_saw_is_given_the_longest_time() {
    let mut stage = broken_post_copy().await.restart_agent().await;
    stage.order(start_post_copy());
    let conflict = || HypervisorError::Conflict("QEMU reports migration is still running".into());
    let began = tokio::time::Instant::now();
    while stage.hypervisor.streams().last() != Some(&BrokenStream::Sever) {
        stage.hypervisor.end_job(GUEST, Err(conflict()));
        tokio::time::sleep(RECOVERY.look).await;
    }
    let (least, took) = (Duration::from_millis(RECOVERY.patience.at_most_ms), began.elapsed());
    assert!(took >= least, "{took:?}");
    stage.agent.stop().await;
}

/// A guest whose transfer has broken after the switch, and the controller knows.
async fn broken_post_copy() -> Stage {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.order(start_post_copy());
    stage.controller.any_update().await;
    stage.hypervisor.put(GUEST, GuestState::PostCopyFailed);
    stage.hypervisor.set_job(GUEST, Some(progress(1)));
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Broken("cut".to_owned())));
    assert!(matches!(stage.controller.update().await, Body::PostCopyFailed(_)));
    stage
}

/// libvirt's error alone does not tell whether the guest had switched: its state does.
#[tokio::test]
async fn under_post_copy_the_guests_state_tells_what_became_of_it() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.order(start_post_copy());
    stage.controller.any_update().await;
    stage.hypervisor.put(GUEST, GuestState::PostCopyFailed);
    let broken = || HypervisorError::Broken("client socket is closed".to_owned());
    stage.hypervisor.end_job(GUEST, Err(broken()));
    assert!(matches!(stage.controller.update().await, Body::PostCopyFailed(_)));
    // Told again to whoever did not hear it.
    stage.order(start_post_copy());
    assert!(matches!(stage.controller.any_update().await, Body::PostCopyFailed(_)));
    // A try sends the rest, and breaks once more.
    stage.hypervisor.set_job(GUEST, Some(progress(2)));
    stage.hypervisor.put(GUEST, GuestState::PostCopy);
    assert!(matches!(stage.controller.any_update().await, Body::ProgressJson(_)));
    stage.hypervisor.put(GUEST, GuestState::PostCopyFailed);
    stage.hypervisor.end_job(GUEST, Err(broken()));
    assert!(matches!(stage.controller.update().await, Body::PostCopyFailed(_)));
    // The target has no half of it any more: nothing of it can run here.
    stage.hypervisor.end_job(GUEST, Err(HypervisorError::Gone(GUEST)));
    finished(&stage.controller.update().await);

    // It never switched: the guest is here, and libvirt's word is the reason.
    stage.epoch += 1;
    stage.hypervisor.put(GUEST, GuestState::Running);
    stage.hypervisor.end_job(GUEST, Err(broken()));
    stage.order_for(OperationId::from_u128(78), start_post_copy());
    let told = stage.controller.update().await;
    let Body::Failed(why) = told else { panic!("{told:?}") };
    assert!(why.message.contains("client socket"), "{why:?}");
    stage.agent.stop().await;
}

/// libvirt could not take it back, or half of it was lost: it can run no more.
#[tokio::test]
async fn what_a_migration_left_of_a_guest_is_removed_with_it() {
    let mut stage = Stage::new().await;
    for state in [GuestState::Running, GuestState::Paused, GuestState::PostCopy] {
        stage.hypervisor.put(GUEST, state);
        assert_eq!(stage.ask(remove()).await, Some(FailureKind::Conflict), "{state:?}");
    }
    for state in [GuestState::PausedForMigration, GuestState::PostCopyFailed] {
        stage.hypervisor.put(GUEST, state);
        assert_eq!(stage.ask(remove()).await, None, "{state:?}");
        assert_eq!(stage.hypervisor.state_of(GUEST), None);
    }
    stage.agent.stop().await;
}

/// libvirt let it run, and it has ended since: its disks have what no others have.
#[tokio::test]
async fn a_copy_that_may_have_run_is_not_discarded_with_its_disks() {
    let mut stage = Stage::new().await;
    stage.hypervisor.put(GUEST, GuestState::ShutOff);
    let discard =
        Action::DiscardIncoming(DiscardIncoming { may_have_run: true, ..Default::default() });
    assert_eq!(stage.ask(discard.clone()).await, Some(FailureKind::Refused));
    stage.hypervisor.forget(GUEST);
    stage.hypervisor.answer_discard(GUEST, Ok(IncomingDisposal::Absent));
    assert_eq!(stage.ask(discard).await, None);
    stage.agent.stop().await;
}
