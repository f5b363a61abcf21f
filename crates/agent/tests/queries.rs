//! Questions: answered by what the hypervisor, the kernel and the network say.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use drover_agent_api::v1::query::Question;
use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{
    CheckIncoming, DefineCpu, DescribeCpu, FailureKind, InspectGuest, ListenForProbe, ProbePorts,
};
use drover_model::{
    CpuFit, CpuOffer, CpuPlatform, GuestId, GuestInspection, GuestState, IncomingCheck,
    IncomingQuestion, NamedCpu, PortOutcome, PortProbe, PortPurpose,
};
use support::controller::Controller;
use support::hypervisor::Scripted;
use support::inspection::LACKING;
use support::pki::Pki;
use support::{Agent, HOST, joined_state_dir};

const GUEST: GuestId = GuestId::from_u128(1);

struct Stage {
    controller: Controller,
    _agent: Agent,
    _state: tempfile::TempDir,
    asked: u32,
}

impl Stage {
    async fn new() -> Self {
        let pki = Pki::new();
        let mut controller = Controller::start(&pki).await;
        let state = joined_state_dir(&pki, &controller.url());
        let hypervisor = Scripted::new();
        hypervisor.put(GUEST, GuestState::Running);
        let agent = Agent::start(state.path(), "", hypervisor);
        controller.inventory().await;
        Self { controller, _agent: agent, _state: state, asked: 0 }
    }

    async fn ask(&mut self, question: Question) -> Answer {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        self.controller.ask(&id, question);
        let answer = self.controller.answer(&id).await;
        assert!(answer.at_ms > 1_700_000_000_000, "{answer:?}");
        answer.answer.unwrap()
    }
}

fn refusal(answer: Answer) -> FailureKind {
    match answer {
        Answer::Failure(failure) => failure.kind(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_guest_is_described_and_another_is_gone() {
    let mut stage = Stage::new().await;
    let question =
        |guest: GuestId| Question::InspectGuest(InspectGuest { guest_id: guest.to_string() });
    let Answer::GuestJson(json) = stage.ask(question(GUEST)).await else { panic!() };
    let found: GuestInspection = serde_json::from_slice(&json).unwrap();
    assert_eq!((found.guest.id, found.guest.host), (GUEST, HOST));
    let gone = stage.ask(question(GuestId::from_u128(2))).await;
    assert_eq!(refusal(gone), FailureKind::Gone);
    let unreadable = Question::InspectGuest(InspectGuest { guest_id: "x".to_owned() });
    assert_eq!(refusal(stage.ask(unreadable).await), FailureKind::Refused);
}

#[tokio::test]
async fn a_target_says_which_features_and_which_paths_it_lacks() {
    let mut stage = Stage::new().await;
    let mut cpu = NamedCpu { model: "qemu64".into(), ..NamedCpu::default() };
    cpu.features.insert(LACKING.to_owned(), true);
    let question = IncomingQuestion {
        platform: CpuPlatform::default(),
        cpu_xml: Some(cpu.xml()),
        paths: vec!["/".to_owned(), "/no/such/iso".to_owned()],
    };
    let question_json = serde_json::to_vec(&question).unwrap();
    let asked = Question::CheckIncoming(CheckIncoming { question_json });
    let Answer::IncomingJson(json) = stage.ask(asked).await else { panic!() };
    let check: IncomingCheck = serde_json::from_slice(&json).unwrap();
    let CpuFit::Lacks { features, .. } = check.cpu else { panic!("{:?}", check.cpu) };
    assert_eq!((features, check.host_uuid), (vec![LACKING.to_owned()], Some(HOST)));
    assert_eq!(check.missing_paths, ["/no/such/iso"]);
}

#[tokio::test]
async fn a_port_is_listened_on_and_reached() {
    let mut stage = Stage::new().await;
    let listen = ListenForProbe { address: "127.0.0.1".to_owned(), for_ms: 5_000 };
    let answer = stage.ask(Question::ListenForProbe(listen)).await;
    let Answer::Listening(listening) = answer else { panic!("{answer:?}") };
    assert!((49152..=49215).contains(&listening.port), "{listening:?}");
    let probe = ProbePorts {
        address: "127.0.0.1".to_owned(),
        migration_port: listening.port,
        // Nobody listens at port 1.
        peer_uri: "qemu+tls://127.0.0.1:1/system".to_owned(),
    };
    let answer = stage.ask(Question::ProbePorts(probe)).await;
    let Answer::PortsProbed(probed) = answer else { panic!("{answer:?}") };
    let probes: Vec<PortProbe> = serde_json::from_slice(&probed.probes_json).unwrap();
    let outcomes: Vec<_> = probes.iter().map(|p| (p.purpose, p.outcome.clone())).collect();
    let expected = vec![
        (PortPurpose::MigrationData, PortOutcome::Open),
        (PortPurpose::Libvirt, PortOutcome::Refused),
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn the_cpu_is_offered_with_what_it_depends_on() {
    let mut stage = Stage::new().await;
    let platform_json = serde_json::to_vec(&CpuPlatform::default()).unwrap();
    let answer = stage.ask(Question::DescribeCpu(DescribeCpu { platform_json })).await;
    let Answer::CpuOfferJson(json) = answer else { panic!("{answer:?}") };
    let offer: CpuOffer = serde_json::from_slice(&json).unwrap();
    assert_eq!(offer.host_model.unwrap().model, "qemu64");
    assert!(!offer.fingerprint.kernel.is_empty());
    assert_eq!(offer.fingerprint.libvirt, "9.0.0");
}

#[tokio::test]
async fn a_cpu_is_not_written_under_an_epoch_that_was_overtaken() {
    let mut stage = Stage::new().await;
    let cpu_json = serde_json::to_vec(&NamedCpu::default()).unwrap();
    let define = |epoch| {
        let cpu_json = cpu_json.clone();
        Question::DefineCpu(DefineCpu { guest_id: GUEST.to_string(), epoch, cpu_json })
    };
    let answer = stage.ask(define(5)).await;
    assert!(matches!(&answer, Answer::CpuDefined(defined) if defined.at_next_start), "{answer:?}");
    assert_eq!(refusal(stage.ask(define(4)).await), FailureKind::StaleEpoch);
}
