//! A cluster whose hosts can be switched off and on: every machine has a BMC, a card that
//! listens for its magic packet, a boot time, and an agent that connects when it has booted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use drover_agent_api::v1::query::Question;
use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{
    Failure, FailureKind, FromController, MagicPacketSent, PoweringOff, Query, QueryAnswer,
    from_controller,
};
use drover_controller::live::Live;
use drover_controller::reconcile::{Reconcile, SwitchHosts, WatchHosts};
use drover_controller::records::{PowerPhase, PowerRecord, Records, Tables};
use drover_model::{
    BmcAddress, BmcProtocol, BmcTls, HostId, HostNic, HostState, MacAddress, NetworkDescription,
    PoolDescription, PowerState,
};
use drover_ports::memory::{MemoryClock, MemoryPower};
use drover_ports::{Bmc, Clock as _, Secret};
use drover_testkit::host_id;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::agents::{Says, answer};
use crate::drain::Cluster;
use crate::world::World;

pub(crate) const PASSWORD: &str = "calvin-and-hobbes";

/// What is to go wrong with a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Quirk {
    #[default]
    None,
    /// Its card does not hear magic packets.
    DeadNic,
    /// It boots without its pool.
    NoPool,
    /// It boots, and libvirtd does not.
    NoLibvirt,
    /// Its agent refuses to switch it off.
    RefusesOff,
    /// Its agent will not switch it off now.
    NotNow,
    /// It takes the order and stays on.
    StaysOn,
}

#[derive(Debug, Default)]
struct Machine {
    quirk: Quirk,
    /// Starts so far.
    starts: u32,
    /// Turns until its agent connects, where it boots.
    boots_in: Option<u32>,
    up: bool,
    /// Turns until it is off, where it shuts down.
    off_in: Option<u32>,
    session: Option<u64>,
}

/// Turns from power to agent.
pub(crate) const BOOT: u32 = 40;
/// Turns from the order to off.
const SHUTDOWN: u32 = 5;

type Machines = Arc<Mutex<BTreeMap<HostId, Machine>>>;

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    switch: SwitchHosts,
    watch: WatchHosts,
    machines: Machines,
    /// Magic packets that were sent: by whom, for which card, with how long a password.
    pub(crate) packets: Arc<Mutex<Vec<(HostId, MacAddress, usize)>>>,
    hosts: u128,
}

pub(crate) fn address(n: u128) -> BmcAddress {
    BmcAddress {
        protocol: BmcProtocol::Ipmi,
        host: format!("bmc{n}"),
        port: 623,
        user: "drover".to_owned(),
        cipher_suite: None,
        system: None,
        tls: BmcTls::System,
    }
}

pub(crate) fn mac(host: HostId) -> MacAddress {
    MacAddress([0x52, 0x54, 0, 0, 0, host.as_bytes()[15]])
}

impl Stage {
    /// So many hosts that are up, with guests on h1.
    pub(crate) async fn new(hosts: u128, guests: u128) -> Self {
        let cluster = Cluster::new(hosts, guests).await;
        for n in 1..=hosts {
            let bmc = Bmc { address: address(n), password: Secret::new(PASSWORD) };
            cluster.world.machines.add(&bmc, PowerState::On, Some(120.0));
        }
        let machines = Machines::default();
        let stage = Self::around(cluster, machines, Arc::default(), hosts);
        for n in 1..=hosts {
            stage.machines.lock().unwrap().insert(host_id(n), Machine::default());
            stage.start(host_id(n)).await;
        }
        stage
    }

    fn around(
        cluster: Cluster,
        machines: Machines,
        packets: Arc<Mutex<Vec<(HostId, MacAddress, usize)>>>,
        hosts: u128,
    ) -> Self {
        let world = &cluster.world;
        let switch = SwitchHosts::new(world.api.power.clone());
        let watch = WatchHosts {
            records: Arc::clone(&world.records),
            live: Arc::clone(&world.live),
            events: Arc::clone(&world.api.events),
            clock: world.clock.clone(),
            unreachable_after: Duration::from_secs(15),
            since: world.clock.now(),
        };
        Self { cluster, switch, watch, machines, packets, hosts }
    }

    /// The controller is killed and started again; hosts that are up connect anew.
    pub(crate) async fn restart(self) -> Self {
        self.switch.idle().await;
        let cluster = self.cluster.restart().await;
        let stage = Self::around(cluster, self.machines, self.packets, self.hosts);
        for n in 1..=stage.hosts {
            let up = stage.machines.lock().unwrap()[&host_id(n)].up;
            if up {
                stage.connect(host_id(n)).await;
            } else {
                // The cluster has connected every host, and this one is off.
                let live = &stage.world().live;
                let session =
                    live.connect(host_id(n), mpsc::channel(1).0, stage.world().clock.now());
                live.disconnect(host_id(n), session);
            }
        }
        stage
    }

    pub(crate) fn world(&self) -> &World {
        &self.cluster.world
    }

    pub(crate) fn quirk(&self, n: u128, quirk: Quirk) {
        self.machines.lock().unwrap().get_mut(&host_id(n)).unwrap().quirk = quirk;
    }

    pub(crate) fn is_up(&self, n: u128) -> bool {
        self.machines.lock().unwrap()[&host_id(n)].up
    }

    /// Somebody presses its button.
    pub(crate) fn press(&self, n: u128) {
        self.world().machines.set_state(&address(n), PowerState::On);
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.cluster.call(method, path, body).await
    }

    /// Names the BMC of a host.
    pub(crate) async fn with_bmc(&self, n: u128) {
        let admin = self.world().token(drover_api::v1::Role::Admin).await;
        let body = json!({
            "protocol": "ipmi", "address": format!("bmc{n}"), "user": "drover",
            "password": PASSWORD,
        });
        let path = format!("/v1/hosts/h{n}/bmc");
        let (status, answer) = self.world().call("PUT", &path, Some(&admin), Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// Says that its card wakes it.
    pub(crate) async fn with_card(&self, n: u128) {
        self.set(n, json!({ "macs": [mac(host_id(n)).to_string()] })).await;
    }

    pub(crate) async fn set(&self, n: u128, body: Value) {
        let path = format!("/v1/hosts/h{n}/power");
        let (status, answer) = self.call("PATCH", &path, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    pub(crate) async fn power(&self, n: u128) -> Value {
        let (status, answer) = self.call("GET", &format!("/v1/hosts/h{n}/power"), None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    pub(crate) fn record(&self, n: u128) -> Option<PowerRecord> {
        self.world().records.read().power.get(host_id(n)).cloned()
    }

    pub(crate) async fn events(&self, kind: &str) -> Vec<String> {
        let (_, answer) = self.call("GET", "/v1/events?limit=1000", None).await;
        let all = answer["items"].as_array().unwrap();
        let of = all.iter().filter(|event| event["kind"] == kind);
        of.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn turn(&mut self) {
        for n in 1..=self.hosts {
            self.step(host_id(n)).await;
        }
        self.cluster.turn().await;
        self.watch.reconcile().await.unwrap();
        self.switch.reconcile().await.unwrap();
        self.switch.idle().await;
    }

    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> u32 {
        for turn in 0..900 {
            if holds(self) {
                return turn;
            }
            self.turn().await;
        }
        panic!("not within 900 turns: {what}: {:?}", self.world().records.read().power);
    }

    pub(crate) async fn until_phase(&mut self, n: u128, phase: &str) -> u32 {
        let is = |of: &Self| of.record(n).map_or("settled", |of| of.phase.as_str()) == phase;
        self.until(phase, is).await
    }

    /// Parks a host to the end.
    pub(crate) async fn parked(&mut self, n: u128) {
        let body = json!({ "untested": true });
        let (status, answer) = self.call("POST", &format!("/v1/hosts/h{n}/park"), Some(body)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        self.until_phase(n, "parked").await;
        assert!(!self.is_up(n));
    }

    /// One second of one machine.
    async fn step(&self, host: HostId) {
        let n = number(host);
        let power = self.world().machines.is(&address(n)).unwrap();
        let booted = {
            let mut machines = self.machines.lock().unwrap();
            let machine = machines.get_mut(&host).unwrap();
            if let Some(left) = machine.off_in {
                machine.off_in = left.checked_sub(1);
                if left == 0 {
                    self.world().machines.set_state(&address(n), PowerState::Off);
                }
            }
            let power = self.world().machines.is(&address(n)).unwrap_or(power);
            if power == PowerState::Off {
                machine.boots_in = None;
                if std::mem::take(&mut machine.up) {
                    let session = machine.session.take().unwrap();
                    self.world().live.disconnect(host, session);
                }
                false
            } else if machine.up {
                false
            } else {
                let left = machine.boots_in.unwrap_or(BOOT);
                machine.boots_in = left.checked_sub(1);
                left == 0
            }
        };
        if booted {
            self.start(host).await;
        }
        if self.is_up(n) {
            self.world().live.heard(host, self.world().clock.now());
        }
    }

    async fn start(&self, host: HostId) {
        {
            let mut machines = self.machines.lock().unwrap();
            let machine = machines.get_mut(&host).unwrap();
            machine.up = true;
            machine.off_in = None;
            machine.starts += 1;
        }
        self.connect(host).await;
    }

    /// Its agent says hello and tells what there is.
    async fn connect(&self, host: HostId) {
        let world = self.world();
        let (sender, receiver) = mpsc::channel(64);
        let session = world.live.connect(host, sender, world.clock.now());
        let (starts, quirk) = {
            let mut machines = self.machines.lock().unwrap();
            let machine = machines.get_mut(&host).unwrap();
            machine.session = Some(session);
            (machine.starts, machine.quirk)
        };
        world.live.introduced(host, format!("{host}-{starts}"));
        let answers = Agent {
            host,
            live: Arc::clone(&world.live),
            records: Arc::clone(&world.records),
            clock: Arc::clone(&world.clock),
            machines: Arc::clone(&self.machines),
            power: world.machines.clone(),
            packets: Arc::clone(&self.packets),
        };
        tokio::spawn(answers.run(receiver));
        let hypervisor = quirk != Quirk::NoLibvirt;
        world.live.inventory(host, hypervisor, std::collections::HashSet::new());
        let pool = PoolDescription {
            name: "fast".to_owned(),
            kind: "dir".to_owned(),
            path: Some("/srv/fast".to_owned()),
            active: quirk != Quirk::NoPool,
        };
        let nic = HostNic {
            name: "eno1".to_owned(),
            mac: mac(host),
            addresses: vec![format!("10.0.0.{}/24", number(host))],
            wakes: None,
        };
        world
            .update_with(|tables: &Tables, txn| {
                let mut record = tables.hosts.get(host).unwrap().clone();
                let state = if hypervisor { HostState::Online } else { HostState::Degraded };
                record.host.state = state;
                record.host.capabilities.pools = vec![pool];
                record.host.capabilities.nics = vec![nic];
                record.host.capabilities.networks = vec![NetworkDescription {
                    name: "br0".to_owned(),
                    kind: "bridge".to_owned(),
                    active: true,
                }];
                txn.put(record);
            })
            .await;
    }

    /// Where a host's power is going.
    pub(crate) fn phase(&self, n: u128) -> PowerPhase {
        self.record(n).map_or(PowerPhase::Settled, |record| record.phase)
    }
}

fn number(host: HostId) -> u128 {
    u128::from_be_bytes(*host.as_bytes())
}

/// The agent of one host.
struct Agent {
    host: HostId,
    live: Arc<Live>,
    records: Arc<Records>,
    clock: Arc<MemoryClock>,
    machines: Machines,
    power: MemoryPower,
    packets: Arc<Mutex<Vec<(HostId, MacAddress, usize)>>>,
}

impl Agent {
    async fn run(self, mut receiver: mpsc::Receiver<FromController>) {
        while let Some(FromController { body }) = receiver.recv().await {
            let Some(from_controller::Body::Query(Query { query_id, question })) = body else {
                continue;
            };
            let answer = self.answer(question.unwrap());
            let at_ms = self.clock.now().as_millis();
            let answer = QueryAnswer { query_id, at_ms, answer: Some(answer) };
            self.live.answered(self.host, answer, self.clock.now());
        }
    }

    fn answer(&self, question: Question) -> Answer {
        match question {
            Question::PowerOffHost(_) => self.power_off(),
            Question::SendMagicPacket(order) => {
                let card = MacAddress(order.mac.try_into().unwrap());
                self.packets.lock().unwrap().push((self.host, card, order.password.len()));
                let all = self.machines.lock().unwrap();
                for (host, machine) in all.iter() {
                    if mac(*host) == card && machine.quirk != Quirk::DeadNic {
                        self.power.set_state(&address(number(*host)), PowerState::On);
                    }
                }
                let sent = vec![format!("{} 10.0.0.255:9", order.interfaces.join(" "))];
                Answer::MagicPacketSent(MagicPacketSent { sent, failed: Vec::new() })
            }
            other => answer(Some(other), self.host, &self.records, &Says::default()),
        }
    }

    fn power_off(&self) -> Answer {
        let mut machines = self.machines.lock().unwrap();
        let machine = machines.get_mut(&self.host).unwrap();
        match machine.quirk {
            Quirk::RefusesOff => {
                return Answer::Failure(Failure {
                    kind: FailureKind::Refused.into(),
                    message: "vm9 is active".to_owned(),
                });
            }
            Quirk::NotNow => {
                return Answer::Failure(Failure {
                    kind: FailureKind::Conflict.into(),
                    message: "guest vm9 is leaving".to_owned(),
                });
            }
            Quirk::StaysOn => {}
            _ => {
                machine.off_in.get_or_insert(SHUTDOWN);
            }
        }
        Answer::PoweringOff(PoweringOff {})
    }
}
