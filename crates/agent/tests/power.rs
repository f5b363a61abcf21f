//! Questions about power: the host switches itself off and wakes others.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use drover_agent::network::filter::Filter;
use drover_agent::network::mac::Mac;
use drover_agent::network::socket::PacketSocket;
use drover_agent_api::v1::command::Action;
use drover_agent_api::v1::query::Question;
use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{
    AcceptIncoming, DiscardIncoming, Failure, FailureKind, PowerOffHost, Sample, SendMagicPacket,
};
use drover_model::{GuestId, GuestState, HostCapabilities, Metric, OperationId, PowerSource};
use drover_ports::memory::MemoryOwnBmc;
use support::controller::Controller;
use support::hypervisor::Scripted;
use support::pki::Pki;
use support::{Agent, joined_state_dir};
use tokio::time::timeout;

const GUEST: GuestId = GuestId::from_u128(1);
const OPERATION: OperationId = OperationId::from_u128(7);

struct Stage {
    controller: Controller,
    hypervisor: Arc<Scripted>,
    agent: Agent,
    state: tempfile::TempDir,
    asked: u32,
}

impl Stage {
    /// An agent with one guest that is shut off. `FILE` in the configuration is
    /// [`Stage::mark`].
    async fn new(power: &str) -> Self {
        let pki = Pki::new();
        let mut controller = Controller::start(&pki).await;
        let state = joined_state_dir(&pki, &controller.url());
        let hypervisor = Scripted::new();
        hypervisor.put(GUEST, GuestState::ShutOff);
        let file = state.path().join("off");
        let config = format!("[power]\n{}", power.replace("FILE", &file.to_string_lossy()));
        let agent = Agent::start(state.path(), &config, Arc::clone(&hypervisor) as _);
        controller.inventory().await;
        Self { controller, hypervisor, agent, state, asked: 0 }
    }

    async fn ask(&mut self, question: Question) -> Answer {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        self.controller.ask(&id, question);
        self.controller.answer(&id).await.answer.unwrap()
    }

    async fn refused(&mut self) -> Failure {
        match self.ask(Question::PowerOffHost(PowerOffHost {})).await {
            Answer::Failure(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    async fn order(&mut self, id: &str, action: Action) -> Option<Failure> {
        self.controller.order(id, OPERATION, GUEST, 1, action);
        self.controller.result(id).await.failure
    }

    fn is_marked(&self) -> bool {
        self.state.path().join("off").exists()
    }
}

const TOUCH: &str = "off_command = [\"touch\", \"FILE\"]";

#[tokio::test]
async fn a_host_with_a_guest_is_not_switched_off() {
    let mut stage = Stage::new(TOUCH).await;
    for state in [GuestState::Running, GuestState::Paused, GuestState::PausedForMigration] {
        stage.hypervisor.put(GUEST, state);
        let refused = stage.refused().await;
        assert_eq!(refused.kind(), FailureKind::Conflict, "{refused:?}");
        assert!(refused.message.contains(state.as_str()), "{refused:?}");
    }
    stage.hypervisor.set_out_of_reach(true);
    assert_eq!(stage.refused().await.kind(), FailureKind::Retry);
    stage.hypervisor.set_out_of_reach(false);
    stage.hypervisor.put(GUEST, GuestState::ShutOff);
    assert!(!stage.is_marked());
}

#[tokio::test]
async fn a_host_that_expects_a_guest_is_not_switched_off_and_then_lets_none_in() {
    let mut stage = Stage::new(TOUCH).await;
    let accept = || Action::AcceptIncoming(AcceptIncoming::default());
    assert_eq!(stage.order("c1", accept()).await, None);
    let refused = stage.refused().await;
    assert_eq!(refused.kind(), FailureKind::Conflict);
    assert!(refused.message.contains("is expected here"), "{refused:?}");
    let discard = Action::DiscardIncoming(DiscardIncoming::default());
    assert_eq!(stage.order("c2", discard).await, None);

    let answer = stage.ask(Question::PowerOffHost(PowerOffHost {})).await;
    assert!(matches!(answer, Answer::PoweringOff(_)), "{answer:?}");
    assert!(stage.is_marked(), "the command has run");
    let refused = stage.order("c3", accept()).await.unwrap();
    assert!(refused.message.contains("being switched off"), "{refused:?}");
}

#[tokio::test]
async fn a_command_that_fails_leaves_the_host_in_use() {
    for (command, part) in [
        ("[\"sh\", \"-c\", \"echo an inhibitor >&2; exit 3\"]", "exit status: 3 an inhibitor"),
        ("[\"/no/such/program\"]", "No such file"),
    ] {
        let mut stage = Stage::new(&format!("off_command = {command}")).await;
        let refused = stage.refused().await;
        assert_eq!(refused.kind(), FailureKind::Broken);
        assert!(refused.message.contains(part), "{refused:?}");
        let accept = Action::AcceptIncoming(AcceptIncoming::default());
        assert_eq!(stage.order("c1", accept).await, None, "it is used again");
    }
    let mut stage = Stage::new("off_command = []").await;
    assert_eq!(stage.refused().await.kind(), FailureKind::Refused);
}

#[tokio::test]
async fn the_answer_leaves_before_the_agent_is_ended() {
    // As systemd does: the command returns, and the agent is asked to end at once.
    let mut stage = Stage::new("off_command = [\"sleep\", \"0.3\"]").await;
    stage.controller.ask("last", Question::PowerOffHost(PowerOffHost {}));
    tokio::time::sleep(Duration::from_millis(200)).await;
    stage.agent.stop().await;
    let answer = stage.controller.answer("last").await.answer.unwrap();
    assert!(matches!(answer, Answer::PoweringOff(_)), "{answer:?}");
}

#[tokio::test]
async fn who_measures_power_is_told_and_the_model_measures_by_the_cpu() {
    let curve = "[100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 200]";
    let pki = Pki::new();
    let mut controller = Controller::start(&pki).await;
    let state = joined_state_dir(&pki, &controller.url());
    let config = format!("[power]\nsources = [\"model\"]\ncurve = {curve}");
    let _agent = Agent::start(state.path(), &config, Scripted::new());
    let hello = controller.hello().await;
    let told: HostCapabilities = serde_json::from_slice(&hello.capabilities_json).unwrap();
    assert_eq!(told.power_sources, [PowerSource::Model]);
    let samples = controller.samples().await.samples;
    let value = |metric| value(&samples, metric);
    let (load, watts) = (value(Metric::CpuUsageActive), value(Metric::PowerWatts));
    let (load, watts) = (load.unwrap(), watts.unwrap());
    assert!((watts - (100.0 + load)).abs() < 0.01, "{load} % and {watts} W");
    assert_eq!(value(Metric::PowerPackageWatts), None);
}

/// The first value of a metric in these samples.
fn value(samples: &[Sample], metric: Metric) -> Option<f64> {
    let code = u32::from(metric.code());
    let mut values = samples.iter().flat_map(|sample| &sample.values);
    values.find(|value| value.metric == code).map(|value| value.value)
}

#[tokio::test]
async fn the_hosts_own_bmc_measures_from_the_first_sample_on() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki).await;
    let state = joined_state_dir(&pki, &controller.url());
    let bmc = MemoryOwnBmc::default();
    bmc.tell(Ok(137.0));
    let config = "sample_interval = \"1s\"\n[power]\nsources = [\"ipmi\", \"model\"]";
    let _agent = Agent::start_with(state.path(), config, Scripted::new(), bmc.clone());
    let hello = controller.hello().await;
    let told: HostCapabilities = serde_json::from_slice(&hello.capabilities_json).unwrap();
    assert_eq!(told.power_sources, [PowerSource::Ipmi, PowerSource::Model]);
    let first = controller.samples().await;
    assert_eq!(value(&first.samples, Metric::PowerWatts), Some(137.0));
    controller.acknowledge(first.sequence);
    bmc.tell(Ok(250.0));
    let asked_again = async {
        loop {
            let next = controller.samples().await;
            if value(&next.samples, Metric::PowerWatts) == Some(250.0) {
                return;
            }
            controller.acknowledge(next.sequence);
        }
    };
    timeout(Duration::from_secs(60), asked_again).await.unwrap();
}

fn run(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

const INSIDE: &str = "DROVER_TEST_IN_NAMESPACES";
const CARD: &str = "02:00:00:00:00:01";
const SLEEPER: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 3];

/// The next IPv4 packet.
async fn hear(ear: &PacketSocket) -> Vec<u8> {
    let search = async {
        loop {
            let frame = ear.receive().await.unwrap();
            // A card that was just set up speaks IPv6.
            if frame[12..14] == [8, 0] {
                return frame;
            }
        }
    };
    timeout(Duration::from_secs(2), search).await.unwrap()
}

/// Runs the test of this name anew, in a network of its own and with a /sys that shows it.
/// Needs root, as the agent does.
fn in_namespaces(test: &str) {
    let own = std::env::current_exe().unwrap();
    let line = format!("mount -t sysfs sysfs /sys && exec {} --exact {test}", own.display());
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "--propagation", "private", "sh", "-c", &line]).env(INSIDE, "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn a_magic_packet_leaves_on_every_network_and_what_does_not_is_told() {
    if std::env::var_os(INSIDE).is_none() {
        return in_namespaces("a_magic_packet_leaves_on_every_network_and_what_does_not_is_told");
    }
    run("ip link set lo up");
    for (card, far, address) in [("wake0", "far0", "10.5.0.1/24"), ("wake1", "far1", "10.6.0.1/16")]
    {
        run(&format!("ip link add {card} type veth peer name {far}"));
        run(&format!("ip link set {card} address {CARD} up"));
        run(&format!("ip link set {far} up"));
        run(&format!("ip addr add {address} dev {card}"));
    }
    run("ip link add loose type veth peer name end");
    run("ip link set loose up");
    let ear = |far| PacketSocket::open(far, Filter::IpOf(CARD.parse::<Mac>().unwrap())).unwrap();
    let (near, other) = (ear("far0"), ear("far1"));

    let mut stage = Stage::new("").await;
    let mut send = SendMagicPacket {
        mac: SLEEPER.to_vec(),
        password: vec![1, 2, 3, 4],
        interfaces: vec!["wake0".into(), "loose".into(), "none0".into()],
        to: vec!["10.6.255.255".into(), "192.0.2.255".into()],
        port: 7,
    };
    let answer = stage.ask(Question::SendMagicPacket(send.clone())).await;
    let Answer::MagicPacketSent(sent) = answer else { panic!("{answer:?}") };
    assert_eq!(sent.sent, ["wake0 10.5.0.255:7", "wake1 10.6.255.255:7"]);
    let failed: Vec<&str> = sent.failed.iter().map(String::as_str).collect();
    assert!(failed[0].starts_with("loose: it has no carrier"), "{failed:?}");
    assert_eq!(failed[1], "none0: there is no such interface");
    assert!(failed[2].starts_with("192.0.2.255:7: Network is unreachable"), "{failed:?}");

    let frame = hear(&near).await;
    assert_eq!(&frame[..6], [0xff; 6], "to everybody");
    // Ethernet, IPv4 and UDP before it.
    let payload = &frame[14 + 20 + 8..];
    assert_eq!((payload.len(), &payload[..6]), (106, &[0xff; 6][..]));
    assert!(payload[6..102].chunks(6).all(|chunk| chunk == SLEEPER), "{payload:?}");
    assert_eq!((&payload[102..], &frame[36..38]), (&[1, 2, 3, 4][..], &7_u16.to_be_bytes()[..]));

    // Every card where none is named, and port 9.
    (send.interfaces, send.to, send.port, send.password) = Default::default();
    let answer = stage.ask(Question::SendMagicPacket(send)).await;
    let Answer::MagicPacketSent(sent) = answer else { panic!("{answer:?}") };
    assert_eq!(sent.sent, ["wake0 10.5.0.255:9", "wake1 10.6.255.255:9"]);
    assert_eq!(sent.failed, Vec::<String>::new());
    let lengths = [hear(&other).await.len(), hear(&other).await.len()];
    assert_eq!(lengths, [14 + 20 + 8 + 106, 14 + 20 + 8 + 102]);
}
