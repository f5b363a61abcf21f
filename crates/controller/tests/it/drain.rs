//! Emptying a host: forty guests, a restart in between, guests that cannot leave.
//!
//! Agents are played: each turn of a cluster brings every operation one step on, time goes by
//! and everything is measured. After every step a checker counts what is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use drover_api::v1::Role;
use drover_controller::reconcile::{DrainHosts, FollowPlans, Reconcile};
use drover_controller::records::{GuestRecord, HostRecord, Tables};
use drover_lifecycle::{Failure, FailureKind, MigrationEvent, MigrationState};
use drover_model::{
    Epoch, GuestState, HostId, Metric, MigrationLimits, MigrationOutcome, OperationId, OwnerPhase,
    OwnerRecord,
};
use drover_ports::{Clock, Entity, SamplePoint};
use drover_testkit::{guest, guest_id, host, host_id};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

use crate::agents::{Says, connect};
use crate::world::World;

const TURN: Duration = Duration::from_secs(1);
const GIB: u64 = 1 << 30;

pub(crate) struct Cluster {
    pub(crate) world: World,
    drain: DrainHosts,
    follow: FollowPlans,
    pub(crate) token: String,
    hosts: u128,
    /// Most that were ever seen under way: out of a host, into a host, between two, in all.
    pub(crate) most: [u32; 4],
    /// Guests whose moves fail, and how often still.
    fails: BTreeMap<u128, u32>,
}

impl Cluster {
    /// So many hosts of 64 GiB; all guests, of 512 MiB each, are on h1.
    pub(crate) async fn new(hosts: u128, guests: u128) -> Self {
        let world = World::new().await;
        for n in 1..=hosts {
            let record = HostRecord { host: host(n, 32.0, 64), disturbed: None };
            world.update(|txn| txn.put(record)).await;
        }
        let token = world.token(Role::Operator).await;
        let cluster = Self::around(world, token, hosts);
        for n in 1..=guests {
            cluster.add(n, 512).await;
        }
        cluster.measure().await;
        cluster
    }

    fn around(world: World, token: String, hosts: u128) -> Self {
        let drain = DrainHosts {
            records: Arc::clone(&world.records),
            events: Arc::clone(&world.api.events),
            engine: world.engine.clone(),
            history: Arc::clone(&world.api.history),
            clock: world.clock.clone(),
            sample_interval: world.api.sample_interval,
            tried: Mutex::default(),
        };
        let follow = FollowPlans {
            records: Arc::clone(&world.records),
            events: Arc::clone(&world.api.events),
            history: Arc::clone(&world.api.history),
            clock: world.clock.clone(),
            sample_interval: world.api.sample_interval,
        };
        for n in 1..=hosts {
            connect(&world, host_id(n), Says::default());
        }
        let (most, fails) = ([0; 4], BTreeMap::new());
        Self { world, drain, follow, token, hosts, most, fails }
    }

    /// The controller is killed and started again.
    pub(crate) async fn restart(self) -> Self {
        let world = self.world.restarted().await;
        let (most, fails) = (self.most, self.fails);
        Self { most, fails, ..Self::around(world, self.token, self.hosts) }
    }

    /// A guest on h1.
    pub(crate) async fn add(&self, n: u128, memory_mib: u64) {
        let record =
            GuestRecord { guest: guest(n, 1, memory_mib), last_moved: None, absent: false };
        let owner = OwnerRecord {
            guest: guest_id(n),
            host: host_id(1),
            epoch: Epoch(1),
            phase: OwnerPhase::Settled,
        };
        self.world
            .update(|txn| {
                txn.put(record);
                txn.put(owner);
            })
            .await;
    }

    /// What agents would report: a tenth of a core for each guest, and its memory.
    pub(crate) async fn measure(&self) {
        let now = self.world.clock.now();
        let mut points = Vec::new();
        {
            let tables = self.world.records.read();
            for n in 1..=self.hosts {
                let on = guests_on(&tables, host_id(n));
                let used: u64 = on.iter().map(|of| of.guest.memory_demand().0).sum();
                let cpu = f64::from(u32::try_from(on.len()).unwrap()) * 10.0 / 32.0;
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let free = (60 * GIB - used.min(60 * GIB)) as f64;
                let values = vec![(Metric::CpuUsageActive, cpu), (Metric::MemAvailable, free)];
                points.push(SamplePoint { entity: Entity::Host(host_id(n)), at: now, values });
            }
            for of in tables.guests.iter() {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let memory = of.guest.memory_demand().0 as f64;
                let values = vec![(Metric::GuestCpuCores, 0.1), (Metric::GuestResident, memory)];
                let entity = Entity::Guest(of.guest.id);
                points.push(SamplePoint { entity, at: now, values });
            }
        }
        self.world.live.sampled(&points);
        let earlier = now.minus(self.world.api.sample_interval);
        let before = points.iter().map(|point| SamplePoint { at: earlier, ..point.clone() });
        let all = before.chain(points.iter().cloned()).collect();
        self.world.api.history.append(all).await.unwrap();
    }

    /// Every operation comes one step on; then a second passes and reconcilers run.
    pub(crate) async fn turn(&mut self) {
        let unfinished: Vec<(OperationId, u128, MigrationState)> = {
            let tables = self.world.records.read();
            let open = tables.operations.iter().filter(|of| !of.migration.state.is_finished());
            open.map(|of| {
                let number = (1..1000).find(|n| guest_id(*n) == of.migration.guest).unwrap();
                (of.migration.operation, number, of.migration.state.clone())
            })
            .collect()
        };
        for (operation, number, state) in unfinished {
            let broken =
                Failure { kind: FailureKind::Broken, message: "the link broke".to_owned() };
            let event = match state {
                MigrationState::Offering => MigrationEvent::TargetAccepted,
                MigrationState::Transferring if self.fails.contains_key(&number) => {
                    let left = self.fails.get_mut(&number).unwrap();
                    *left -= 1;
                    if *left == 0 {
                        self.fails.remove(&number);
                    }
                    MigrationEvent::SourceFailed(broken)
                }
                MigrationState::Transferring => MigrationEvent::SourceFinished(MigrationOutcome {
                    total_ms: 900,
                    ..MigrationOutcome::default()
                }),
                MigrationState::Resuming => MigrationEvent::TargetRuns,
                MigrationState::CleaningUp { .. } => {
                    MigrationEvent::TargetCopy(drover_lifecycle::TargetFate::Clean)
                }
                MigrationState::Returning { .. } => MigrationEvent::SourceRuns,
                _ => continue,
            };
            self.world.engine.take(operation, event).await;
            self.world.settle().await;
            self.count();
        }
        self.world.clock.advance(TURN);
        self.measure().await;
        self.drain.reconcile().await.unwrap();
        self.world.settle().await;
        self.count();
        self.follow.reconcile().await.unwrap();
        self.world.engine.begin_admitted().await;
        self.world.settle().await;
        self.count();
    }

    /// The checker: what is under way now, by every count that is limited.
    fn count(&mut self) {
        let tables = self.world.records.read();
        let under_way = tables.operations.iter().filter(|of| {
            let state = &of.migration.state;
            !state.is_finished() && !matches!(state, MigrationState::Admitted)
        });
        let mut counts: BTreeMap<(u8, HostId, HostId), u32> = BTreeMap::new();
        let mut all = 0;
        for of in under_way {
            let (from, to) = (of.migration.from, of.migration.to);
            let nobody = host_id(0);
            for key in [(0, from, nobody), (1, to, nobody), (2, from.min(to), from.max(to))] {
                *counts.entry(key).or_default() += 1;
            }
            all += 1;
        }
        for ((kind, ..), count) in counts {
            self.most[usize::from(kind)] = self.most[usize::from(kind)].max(count);
        }
        self.most[3] = self.most[3].max(all);
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.world.call(method, path, Some(&self.token), body).await
    }

    pub(crate) async fn drain(&self, body: Value) -> (StatusCode, Value) {
        let answer = self.call("PUT", "/v1/hosts/h1/maintenance", Some(body)).await;
        self.world.settle().await;
        answer
    }

    pub(crate) async fn host(&self, name: &str) -> Value {
        self.call("GET", &format!("/v1/hosts/{name}"), None).await.1
    }

    pub(crate) fn on(&self, n: u128) -> usize {
        guests_on(&self.world.records.read(), host_id(n)).len()
    }

    pub(crate) fn queued(&self) -> Vec<OperationId> {
        let tables = self.world.records.read();
        let queued =
            tables.operations.iter().filter(|of| of.migration.state == MigrationState::Admitted);
        queued.map(|of| of.migration.operation).collect()
    }

    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> u32 {
        for turn in 0..400 {
            if holds(self) {
                return turn;
            }
            self.turn().await;
        }
        panic!("not within 400 turns: {what}");
    }

    pub(crate) fn is_drained(&self) -> bool {
        let tables = self.world.records.read();
        tables.maintenance.get(host_id(1)).is_some_and(|of| of.phase.as_str() == "drained")
    }
}

fn guests_on(tables: &Tables, host: HostId) -> Vec<GuestRecord> {
    tables.guests.iter().filter(|of| of.guest.host == host && !of.absent).cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn forty_guests_leave_by_one_command_and_no_limit_is_ever_exceeded() {
    let mut cluster = Cluster::new(5, 40).await;
    let (status, answer) = cluster.drain(json!({ "dry_run": true })).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&answer["certificate"]["feasible"], &answer["certificate"]["guests"]),
        (&json!(true), &json!(40)),
        "{answer}"
    );
    assert_eq!(cluster.queued().len(), 0, "a dry run begins nothing");
    let (status, answer) = cluster.drain(json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    cluster.count();
    assert_eq!(answer["maintenance"]["queued"], 38, "two begin at once: {answer}");
    assert_eq!(cluster.queued().len(), 38);
    cluster.until("half are gone", |of| of.on(1) <= 20).await;
    let shown = cluster.host("h1").await;
    let drain = &shown["drain"];
    assert_eq!((&shown["maintenance"], &drain["guests"]), (&json!("draining"), &json!(40)));
    assert_eq!(drain["moved"].as_u64().unwrap() + drain["left"].as_u64().unwrap(), 40, "{drain}");
    assert!(drain["bytes_per_second"].as_u64().unwrap() > 100 << 20, "{drain}");
    let end = cluster.world.records.read().maintenance.get(host_id(1)).unwrap().begun;
    assert!(drain["estimated_end"].is_string() && end < cluster.world.clock.now(), "{drain}");
    cluster.until("drained", Cluster::is_drained).await;
    assert_eq!((cluster.on(1), cluster.queued().len()), (0, 0));
    let limits = MigrationLimits::default();
    let [out, into, link, all] = cluster.most;
    assert_eq!((out, all), (limits.out_per_host, limits.out_per_host), "the source is the neck");
    assert!(into <= limits.in_per_host && link <= limits.per_link, "{:?}", cluster.most);
    assert!((2..=5).all(|n| cluster.on(n) >= 5), "all take their share");
    let (_, hosts) = cluster.call("GET", "/v1/hosts", None).await;
    assert_eq!(hosts["items"][0]["maintenance"], "drained", "{hosts}");
}

#[tokio::test(start_paused = true)]
async fn higher_limits_are_used_and_kept() {
    let mut cluster = Cluster::new(5, 40).await;
    let wanted = json!({ "out_per_host": 6, "in_per_host": 2, "per_link": 2, "per_cluster": 5 });
    let (status, _) = cluster.call("PUT", "/v1/limits", Some(wanted)).await;
    assert_eq!(status, StatusCode::OK);
    cluster.drain(json!({})).await;
    cluster.count();
    cluster.until("drained", Cluster::is_drained).await;
    assert_eq!((cluster.most[0], cluster.most[3]), (5, 5), "{:?}", cluster.most);
    assert!(cluster.most[1] <= 2 && cluster.most[2] <= 2, "{:?}", cluster.most);
    let (status, problem) =
        cluster.call("PUT", "/v1/limits", Some(json!({ "out_per_host": 0 }))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_loses_nothing() {
    let mut cluster = Cluster::new(5, 40).await;
    cluster.drain(json!({})).await;
    cluster.until("some are gone", |of| of.on(1) <= 30).await;
    let queued = cluster.queued().len();
    assert!(queued > 20, "{queued}");
    let mut cluster = cluster.restart().await;
    assert_eq!(cluster.queued().len(), queued, "the queue is stored");
    cluster.until("drained", Cluster::is_drained).await;
    assert_eq!(cluster.most[0], 2);
    let moves = cluster.world.records.read().operations.len();
    assert_eq!(moves, 40, "nobody is moved twice");
    assert_eq!(cluster.host("h1").await["drain"]["moved"], 40);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_cannot_leave_is_named_before_anything_begins() {
    let mut cluster = Cluster::new(3, 4).await;
    cluster.add(5, 62 << 10).await;
    cluster.measure().await;
    let (status, problem) = cluster.drain(json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("1 of 5") && detail.contains("vm5"), "{detail}");
    assert!(detail.contains("h2: it needs") && detail.contains("h3: it needs"), "{detail}");
    assert_eq!(cluster.world.records.read().operations.len(), 0);
    assert_eq!(cluster.host("h1").await["maintenance"], "active", "nothing was begun");
    let (status, _) = cluster.drain(json!({ "partial": true })).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    cluster.until("the others are gone", |of| of.on(1) == 1).await;
    cluster.turn().await;
    let shown = cluster.host("h1").await;
    assert_eq!(shown["drain"]["hanging"][0]["guest"], "vm5", "{shown}");
    assert_eq!(shown["drain"]["estimated_end"], Value::Null, "{shown}");
    for _ in 0..30 {
        cluster.turn().await;
    }
    assert!(!cluster.is_drained());
    let plans = cluster.world.records.read().plans.len();
    assert_eq!(plans, 1, "no plan is stored that moves nothing");
}

#[tokio::test(start_paused = true)]
async fn a_move_that_fails_is_tried_again_and_not_for_ever() {
    let mut cluster = Cluster::new(3, 3).await;
    cluster.fails = BTreeMap::from([(1, 2), (2, 99)]);
    cluster.drain(json!({})).await;
    cluster.until("two are gone", |of| of.on(1) == 1).await;
    let hangs = |of: &Cluster| {
        let tables = of.world.records.read();
        tables.maintenance.get(host_id(1)).unwrap().hanging.first().cloned()
    };
    cluster.until("vm2 is given up", |of| hangs(of).is_some()).await;
    let hanging = hangs(&cluster).unwrap();
    assert_eq!((hanging.guest, hanging.failures), (guest_id(2), 5));
    assert!(hanging.why.contains("failed 5 times") && hanging.why.contains("the link broke"));
    let of = |n: u128| {
        let tables = cluster.world.records.read();
        tables.operations.iter().filter(|of| of.migration.guest == guest_id(n)).count()
    };
    assert_eq!((of(1), of(2), of(3)), (3, 5, 1));
    cluster.fails.clear();
    cluster.turn().await;
    assert!(!cluster.is_drained(), "given up is given up");
    cluster.drain(json!({})).await;
    cluster.until("asked again", Cluster::is_drained).await;
}

#[tokio::test(start_paused = true)]
async fn undrain_in_the_middle_stops_new_moves_and_lets_the_begun_ones_end() {
    let mut cluster = Cluster::new(3, 12).await;
    cluster.drain(json!({})).await;
    cluster.turn().await;
    let gone = 12 - cluster.on(1);
    let (status, _) = cluster.call("DELETE", "/v1/hosts/h1/maintenance", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(cluster.queued(), []);
    for _ in 0..20 {
        cluster.turn().await;
    }
    assert_eq!(12 - cluster.on(1), gone + 2, "the two that had begun");
    assert_eq!(cluster.host("h1").await["maintenance"], "active");
    let (status, problem) = cluster.call("DELETE", "/v1/hosts/h1/maintenance", None).await;
    assert_eq!((status, &problem["kind"]), (StatusCode::CONFLICT, &json!("conflict")));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_placed_on_a_drained_host_and_what_shows_up_there_leaves() {
    let mut cluster = Cluster::new(3, 2).await;
    cluster.drain(json!({})).await;
    cluster.until("drained", Cluster::is_drained).await;
    let wish = json!({ "to": "h1" });
    let (status, problem) = cluster.call("POST", "/v1/guests/vm1/migrate", Some(wish)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("h1 is being emptied"), "{problem}");
    cluster.add(3, 512).await;
    cluster.measure().await;
    cluster.turn().await;
    assert!(!cluster.is_drained());
    cluster.until("drained again", Cluster::is_drained).await;
    assert_eq!(cluster.on(1), 0);
}

#[tokio::test(start_paused = true)]
async fn guests_that_are_shut_off_stay_and_are_listed() {
    let mut cluster = Cluster::new(3, 2).await;
    let mut off = guest(3, 1, 512);
    off.state = GuestState::ShutOff;
    cluster.add(3, 512).await;
    let record = GuestRecord { guest: off, last_moved: None, absent: false };
    cluster.world.update(|txn| txn.put(record)).await;
    let (_, answer) = cluster.drain(json!({})).await;
    assert_eq!(answer["certificate"]["stays"], json!(["vm3"]), "{answer}");
    cluster.until("drained", Cluster::is_drained).await;
    assert_eq!(cluster.host("h1").await["drain"]["stays"], json!(["vm3"]));
    assert_eq!(cluster.on(1), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_moves_live_and_says_so() {
    let cluster = Cluster::new(3, 4).await;
    for body in
        [json!({ "options": { "mode": "cold" } }), json!({ "options": { "mode": "rescue" } })]
    {
        let (status, problem) = cluster.drain(body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("moves guests live"), "{problem}");
    }
    assert_eq!(cluster.host("h1").await["maintenance"], "active", "nothing was begun");
}

#[tokio::test(start_paused = true)]
async fn labels_choose_where_guests_go() {
    let mut cluster = Cluster::new(3, 4).await;
    let label = json!({ "labels": { "rack": "r2" } });
    let (status, _) = cluster.call("PATCH", "/v1/hosts/h3/labels", Some(label)).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = cluster.drain(json!({ "to_labels": { "rack": "r9" } })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    cluster.drain(json!({ "to_labels": { "rack": "r2" } })).await;
    cluster.until("drained", Cluster::is_drained).await;
    assert_eq!((cluster.on(2), cluster.on(3)), (0, 4));
}
