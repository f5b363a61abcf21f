//! The power policy: what it asks of those who switch hosts, what it says, and what it keeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use drover_api::v1::{EventQuery, Role};
use drover_controller::reconcile::{ManagePower, Reconcile};
use drover_controller::records::{
    Cause, GuestRecord, HostRecord, PolicyName, PowerPhase, PowerRecord, Tables,
};
use drover_controller::saving::{Facts, Switches};
use drover_lifecycle::power::OffProof;
use drover_model::{HostId, HostState, Metric, Timestamp};
use drover_planner::power::MachineState;
use drover_ports::{Clock, Entity, SamplePoint};
use drover_testkit::{guest, guest_id, host, host_id};
use serde_json::{Value, json};

use crate::balance::uneven;
use crate::world::World;

/// Hosts that do at once what they are told, and one that never parks.
struct Machines {
    states: Mutex<BTreeMap<HostId, MachineState>>,
    asked: Mutex<Vec<String>>,
    stubborn: Option<HostId>,
    now: Arc<dyn Clock>,
}

impl Machines {
    fn set(&self, host: HostId, state: MachineState) {
        self.states.lock().unwrap().insert(host, state);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Switches for Machines {
    fn facts(&self, _: &Tables, host: HostId) -> Facts {
        let state = self.states.lock().unwrap()[&host];
        let wake_time = Some(Duration::from_secs(120));
        Facts { state, wake_time, curve: None, may_not_park: None, may_not_wake: None }
    }

    async fn wake(&self, host: HostId, cause: Cause) -> Result<(), String> {
        self.asked.lock().unwrap().push(format!("wake {host} for {cause}"));
        self.set(host, MachineState::Waking { since: self.now.now() });
        Ok(())
    }

    async fn park(&self, host: HostId, cause: Cause) -> Result<(), String> {
        self.asked.lock().unwrap().push(format!("park {host} for {cause}"));
        if self.stubborn == Some(host) {
            return Err("a guest of it cannot move".to_owned());
        }
        self.set(host, MachineState::Parking { since: self.now.now() });
        Ok(())
    }
}

/// Three hosts of 8 cores; h1 has a guest of one core, h2 one of a half, h3 none.
async fn cluster() -> World {
    let world = World::new().await;
    world
        .update(|txn| {
            for n in 1..=3 {
                txn.put(HostRecord { host: host(n, 8.0, 64), disturbed: None });
            }
            for n in 1..=2 {
                txn.put(GuestRecord { guest: guest(n, n, 1024), last_moved: None, absent: false });
            }
        })
        .await;
    world
}

/// Five minutes of samples up to now.
async fn measure(world: &World, cores: [f64; 2]) {
    let (now, gib) = (world.clock.now(), f64::from(1 << 30));
    let mut points = Vec::new();
    for step in 0..12 {
        let at = now.minus(Duration::from_secs(5) * step);
        for n in 1..=3 {
            let used = cores.get(usize::try_from(n).unwrap() - 1).copied().unwrap_or(0.0);
            let values = vec![
                (Metric::CpuUsageActive, used * 100.0 / 8.0),
                (Metric::MemAvailable, 62.0 * gib),
            ];
            points.push(SamplePoint { entity: Entity::Host(host_id(n)), at, values });
        }
        for (n, used) in (1..).zip(cores) {
            let values = vec![(Metric::GuestCpuCores, used), (Metric::GuestResident, gib)];
            points.push(SamplePoint { entity: Entity::Guest(guest_id(n)), at, values });
        }
    }
    world.api.history.append(points).await.unwrap();
}

fn manager(world: &World, switches: Arc<dyn Switches>) -> ManagePower {
    ManagePower {
        records: Arc::clone(&world.records),
        events: Arc::clone(&world.api.events),
        engine: world.engine.clone(),
        history: Arc::clone(&world.api.history),
        clock: world.clock.clone(),
        switches,
        sample_interval: world.api.sample_interval,
        last: Mutex::default(),
    }
}

fn machines(world: &World, stubborn: Option<HostId>) -> Arc<Machines> {
    let since = Timestamp::EPOCH;
    let on = (1..=3).map(|n| (host_id(n), MachineState::On { since }));
    Arc::new(Machines {
        states: Mutex::new(on.collect()),
        asked: Mutex::default(),
        stubborn,
        now: world.clock.clone(),
    })
}

/// So many turns, a minute apart.
async fn turns(world: &World, manager: &ManagePower, count: u32, cores: [f64; 2]) {
    for _ in 0..count {
        world.clock.advance(Duration::from_secs(60));
        measure(world, cores).await;
        manager.reconcile().await.unwrap();
    }
}

async fn set(world: &World, body: Value) -> (StatusCode, Value) {
    let token = world.token(Role::Operator).await;
    world.call("PUT", "/v1/policies/power", Some(&token), Some(body)).await
}

async fn decision(world: &World) -> Value {
    let token = world.token(Role::Viewer).await;
    let (status, answer) =
        world.call("GET", "/v1/policies/power/decision", Some(&token), None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

async fn events(world: &World, kind: &str) -> Vec<String> {
    let events = world.api.events.query(&EventQuery::default()).await.unwrap();
    let of = events.into_iter().filter(|event| event.kind == kind);
    of.map(|event| event.message).collect()
}

#[tokio::test]
async fn a_needless_host_is_parked_after_the_window_and_woken_when_load_comes() {
    let world = cluster().await;
    let machines = machines(&world, None);
    let manager = manager(&world, machines.clone());
    turns(&world, &manager, 2, [1.0, 0.5]).await;
    assert!(world.records.read().power_turn.is_empty(), "nothing without a policy");
    assert_eq!(set(&world, json!({ "level": 5 })).await.0, StatusCode::OK);
    turns(&world, &manager, 19, [1.0, 0.5]).await;
    assert_eq!(machines.asked(), Vec::<String>::new());
    let held = decision(&world).await["held"].as_str().unwrap().to_owned();
    assert!(held.starts_with("the load is not known for long enough yet"), "{held}");
    turns(&world, &manager, 2, [1.0, 0.5]).await;
    assert_eq!(machines.asked(), [format!("park {} for policy power", host_id(3))]);
    let said = events(&world, "power.decided").await;
    assert!(said[0].contains("park h3 (saves 57 W for about 4h"), "{said:?}");

    // asleep for long enough, then both guests ask for more than two hosts have in comfort
    machines.set(host_id(3), MachineState::Off { since: Timestamp::EPOCH });
    for n in 1..=2 {
        machines.set(host_id(n), MachineState::On { since: world.clock.now() });
    }
    turns(&world, &manager, 8, [7.6, 7.6]).await;
    let asked = machines.asked();
    assert_eq!(asked, [format!("wake {} for policy power", host_id(3))]);
    assert!(decision(&world).await["held"].as_str().unwrap().contains("is being woken"));
}

#[tokio::test]
async fn load_that_rises_while_a_host_is_emptied_calls_it_back() {
    let world = cluster().await;
    let machines = machines(&world, None);
    let manager = manager(&world, machines.clone());
    set(&world, json!({ "level": 5 })).await;
    machines.set(host_id(3), MachineState::Leaving { since: world.clock.now() });
    turns(&world, &manager, 15, [1.0, 0.5]).await;
    assert_eq!(machines.asked(), Vec::<String>::new(), "nobody needs it");
    turns(&world, &manager, 8, [7.6, 7.6]).await;
    assert_eq!(machines.asked(), [format!("wake {} for policy power", host_id(3))]);
    let said = events(&world, "power.decided").await;
    assert!(said[0].contains("wake h3 (its park is called back: the load needs"), "{said:?}");
}

#[tokio::test]
async fn a_host_that_was_woken_for_load_gets_guests() {
    let (world, _) = uneven().await;
    let machines = machines(&world, None);
    machines.set(host_id(2), MachineState::Off { since: Timestamp::EPOCH });
    let manager = manager(&world, machines.clone());
    set(&world, json!({ "level": 2 })).await;
    for _ in 0..5 {
        manager.reconcile().await.unwrap();
        world.clock.advance(Duration::from_secs(60));
        crate::balance::measure(&world, world.clock.now()).await;
    }
    assert_eq!(machines.asked(), [format!("wake {} for policy power", host_id(2))]);
    assert_eq!(world.records.read().plans.len(), 0, "it is not up yet");
    machines.set(host_id(2), MachineState::On { since: world.clock.now() });
    manager.reconcile().await.unwrap();
    let turn = world.records.read().power_turn.get(PolicyName::Power).cloned().unwrap();
    let plan = world.records.read().plans.iter().next().cloned();
    let said = events(&world, "power.fills").await;
    let plan = plan.unwrap_or_else(|| panic!("no plan: {said:?}"));
    assert_eq!(plan.cause, Cause::Policy { name: PolicyName::Power });
    assert!(plan.plan.moves().all(|step| step.step.to == host_id(2)), "{plan:?}");
    assert_eq!(events(&world, "power.fills").await.len(), 1);
    assert!(turn.awaited.is_empty());
}

#[tokio::test]
async fn a_refused_host_is_left_alone_for_a_while_and_the_next_is_parked() {
    let world = cluster().await;
    let machines = machines(&world, Some(host_id(3)));
    let manager = manager(&world, machines.clone());
    set(&world, json!({ "level": 5 })).await;
    turns(&world, &manager, 22, [1.0, 0.5]).await;
    let asked = machines.asked();
    let park = |n: u128| format!("park {} for policy power", host_id(n));
    assert_eq!(asked, [park(3), park(2)], "the smaller guest's host comes next");
    let kept = decision(&world).await["kept"].to_string();
    assert!(kept.contains("a guest of it cannot move"), "{kept}");
}

#[tokio::test]
async fn when_asked_it_only_suggests() {
    let world = cluster().await;
    let machines = machines(&world, None);
    let manager = manager(&world, machines.clone());
    set(&world, json!({ "level": 4, "suggest": true, "exclude_hosts": ["h3"] })).await;
    turns(&world, &manager, 35, [1.0, 0.5]).await;
    let told = decision(&world).await;
    assert_eq!(told["suggested_only"], "the policy only suggests");
    assert_eq!(told["parks"][0]["host"], "h2");
    assert_eq!(told["parks"][0]["moves"][0], json!({ "guest": "vm2", "to": "h3" }));
    assert!(told["kept"].to_string().contains("the policy leaves it alone"), "{told}");
    assert_eq!(events(&world, "power.suggested").await.len(), 1, "said once");
    assert_eq!(machines.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn what_was_seen_outlives_a_restart() {
    let world = cluster().await;
    let machines = machines(&world, None);
    set(&world, json!({ "level": 5 })).await;
    turns(&world, &manager(&world, machines.clone()), 15, [1.0, 0.5]).await;
    let world = world.restarted().await;
    turns(&world, &manager(&world, machines.clone()), 6, [1.0, 0.5]).await;
    assert_eq!(machines.asked().len(), 1, "the window did not begin anew");
}

#[tokio::test]
async fn the_policy_is_set_shown_and_ended_and_bad_ones_are_refused() {
    let world = cluster().await;
    for (body, part) in [
        (json!({ "level": 6 }), "level 6 is not 1 to 5"),
        (json!({ "level": 3, "schedule": ["at night"] }), "`at night` is no window"),
        (json!({ "level": 3, "time_zone": "Mars/Base" }), "there is no time zone `Mars/Base`"),
        (json!({ "level": 3, "min_on": "5s" }), "the min_on must be 1m to 1d"),
        (json!({ "level": 3, "reserve": 2000 }), "reserve must be at most 1000"),
        (json!({ "level": 3, "survive_failures": 9 }), "survive_failures must be at most 8"),
        (json!({ "level": 3, "exclude_hosts": ["h9"] }), "h9"),
    ] {
        let (status, answer) = set(&world, body).await;
        assert!(status.is_client_error() && answer.to_string().contains(part), "{part}: {answer}");
    }
    let night = "park mon,tue,wed,thu,fri 19:00-06:30";
    let body = json!({
        "level": 2, "reserve": 1, "schedule": [night], "time_zone": "Europe/Berlin",
        "exclude_hosts": ["h1"],
    });
    let (status, shown) = set(&world, body).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    assert_eq!((&shown["schedule"][0], &shown["exclude_hosts"][0]), (&json!(night), &json!("h1")));
    assert_eq!(shown["parameters"]["down_window"], "1h");
    let token = world.token(Role::Operator).await;
    let (_, all) = world.call("GET", "/v1/policies", Some(&token), None).await;
    assert_eq!(all["power"]["reserve"], 1);
    let (status, _) = world.call("DELETE", "/v1/policies/power", Some(&token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = world.call("DELETE", "/v1/policies/power", Some(&token), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(world.records.read().power_policy.get(PolicyName::Power).is_none());
}

#[tokio::test]
async fn the_board_tells_who_sleeps_and_who_is_left_alone() {
    let world = cluster().await;
    let at = Timestamp::from_millis(7);
    let phase = |n, phase| PowerRecord { phase, ..PowerRecord::new(host_id(n), at) };
    world
        .update(|txn| {
            txn.put(phase(1, PowerPhase::Settled));
            txn.put(phase(2, PowerPhase::Parked(OffProof::Bmc)));
            let mut silent = host(3, 8.0, 64);
            silent.state = HostState::Unreachable;
            txn.put(HostRecord { host: silent, disturbed: None });
        })
        .await;
    let board = &world.api.power;
    let tables = world.records.read();
    let facts = |n| board.facts(&tables, host_id(n));
    assert_eq!(facts(1).state, MachineState::On { since: at });
    assert_eq!(facts(1).may_not_wake.as_deref(), Some("no way to wake it is known"));
    let may_not = facts(1).may_not_park.unwrap();
    assert!(may_not.contains("nothing is known that wakes it"), "{may_not}");
    assert_eq!(facts(2).state, MachineState::Off { since: at });
    assert_eq!(facts(3).state, MachineState::Away);
}
