//! Parks that are called back while guests still leave.

use axum::http::StatusCode;
use drover_controller::power::{ParkPurpose, ParkWish};
use drover_controller::records::{Cause, PolicyName, PowerPhase};
use drover_controller::saving::Switches;
use drover_controller::waker::{self, Standing, sleepers};
use drover_lifecycle::MigrationState;
use drover_lifecycle::power::ParkState;
use drover_model::RuleId;
use drover_planner::power::MachineState;
use drover_ports::Clock as _;
use drover_testkit::host_id;
use serde_json::json;

use super::stage::Stage;

const POLICY: Cause = Cause::Policy { name: PolicyName::Power };

fn rule() -> Cause {
    Cause::Rule { id: RuleId::from_u128(1), name: "hot".to_owned() }
}

async fn park(stage: &Stage, n: u128, cause: Cause) {
    let wish = ParkWish { purpose: ParkPurpose::Sleep, untested: true, cause };
    stage.world().api.power.request_park(host_id(n), wish).await.unwrap();
}

/// Three hosts; the power policy parks h1, and of its guests the first ones leave.
async fn leaving() -> Stage {
    let mut stage = Stage::new(3, 6).await;
    stage.with_bmc(1).await;
    park(&stage, 1, POLICY).await;
    stage.turn().await;
    assert!(stage.cluster.on(1) > 0, "all have left at once");
    stage
}

fn facts(stage: &Stage, n: u128) -> MachineState {
    let board = &stage.world().api.power;
    board.facts(&stage.world().records.read(), host_id(n)).state
}

fn standing(stage: &Stage, n: u128) -> Option<Standing> {
    let all = sleepers(&stage.world().records.read());
    all.iter().find(|one| one.host == host_id(n)).map(|one| one.standing)
}

fn under_way(stage: &Stage) -> usize {
    let tables = stage.world().records.read();
    tables.operations.iter().filter(|of| !of.migration.state.is_finished()).count()
}

/// It is used again, and its guests stay.
async fn is_used_again(stage: &mut Stage, by: &str) {
    stage.until_phase(1, "settled").await;
    stage.until("no move waits", |of| under_way(of) == 0).await;
    let left = stage.cluster.on(1);
    for _ in 0..60 {
        stage.turn().await;
    }
    assert!(left > 0 && stage.cluster.on(1) == left, "guests leave on: {left}");
    assert!(stage.is_up(1));
    let shown = stage.cluster.host("h1").await;
    assert_eq!((&shown["state"], &shown["maintenance"]), (&json!("online"), &json!("active")));
    let told = stage.events("host.called_back").await;
    assert!(told.len() == 1 && told[0].contains(by), "{told:?}");
    assert_eq!(stage.events("host.park_failed").await, [""; 0]);
    assert_eq!(stage.power(1).await["state"], "on");
}

#[tokio::test(start_paused = true)]
async fn the_policy_calls_back_what_it_parks_and_the_guests_that_are_left_stay() {
    let mut stage = leaving().await;
    assert!(matches!(facts(&stage, 1), MachineState::Leaving { .. }));
    stage.world().api.power.wake(host_id(1), POLICY).await.unwrap();
    assert!(matches!(facts(&stage, 1), MachineState::Waking { .. }));
    let power = stage.power(1).await;
    assert_eq!(
        (&power["state"], &power["doing"]),
        (&json!("waking"), &json!("its park is called back"))
    );
    is_used_again(&mut stage, "policy power").await;
    let tables = stage.world().records.read();
    let cancelled = |of: &&drover_controller::records::OperationRecord| {
        matches!(of.migration.state, MigrationState::Cancelled)
    };
    assert!(tables.operations.iter().any(|of| cancelled(&of)), "none waited");
}

#[tokio::test(start_paused = true)]
async fn a_rule_calls_it_back_too_and_waits_meanwhile() {
    let mut stage = leaving().await;
    assert_eq!(standing(&stage, 1), Some(Standing::Leaving));
    let now = stage.world().clock.now();
    waker::ask(&stage.world().records, host_id(1), rule(), now).await.unwrap();
    assert_eq!(standing(&stage, 1), Some(Standing::Waking));
    is_used_again(&mut stage, "rule hot").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_outlives_a_restart_of_the_controller() {
    let stage = leaving().await;
    stage.world().api.power.wake(host_id(1), POLICY).await.unwrap();
    let mut stage = stage.restart().await;
    is_used_again(&mut stage, "policy power").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_person_parks_only_a_person_calls_back() {
    let mut stage = Stage::new(3, 6).await;
    stage.with_bmc(1).await;
    park(&stage, 1, Cause::Request { who: "ann".to_owned() }).await;
    stage.turn().await;
    assert!(matches!(facts(&stage, 1), MachineState::Parking { .. }));
    assert_eq!(standing(&stage, 1), None);
    let refused = stage.world().api.power.wake(host_id(1), POLICY).await.unwrap_err();
    assert!(refused.contains("its guests leave"), "{refused}");
    let now = stage.world().clock.now();
    assert!(waker::ask(&stage.world().records, host_id(1), rule(), now).await.is_err());
    let (status, answer) = stage.call("POST", "/v1/hosts/h1/wake", None).await;
    assert_eq!((status, &answer["state"]), (StatusCode::ACCEPTED, &json!("waking")), "{answer}");
    is_used_again(&mut stage, "request of").await;
}

#[tokio::test(start_paused = true)]
async fn once_its_agent_is_told_to_switch_off_it_is_not_called_back() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    park(&stage, 3, POLICY).await;
    let told = |of: &Stage| match of.phase(3) {
        PowerPhase::Parking(park) => park.state != ParkState::Draining,
        _ => false,
    };
    stage.until("its agent is told", told).await;
    assert!(matches!(facts(&stage, 3), MachineState::Parking { .. }));
    let refused = stage.world().api.power.wake(host_id(3), POLICY).await.unwrap_err();
    assert!(refused.contains("it shuts down"), "{refused}");
    let (status, problem) = stage.call("POST", "/v1/hosts/h3/wake", None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    stage.until_phase(3, "parked").await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_somebody_drains_meanwhile_is_of_no_use_and_not_called_back() {
    let mut stage = leaving().await;
    let (status, answer) =
        stage.call("PUT", "/v1/hosts/h1/maintenance", Some(json!({ "partial": true }))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert!(matches!(facts(&stage, 1), MachineState::Parking { .. }));
    // Who calls it back all the same ends the park, not the drain.
    let (status, answer) = stage.call("POST", "/v1/hosts/h1/wake", None).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    stage.until_phase(1, "settled").await;
    stage.until("it is drained", |of| of.cluster.on(1) == 0).await;
    for _ in 0..20 {
        stage.turn().await;
    }
    assert!(stage.is_up(1));
    assert_eq!(stage.cluster.host("h1").await["maintenance"], "drained");
}
