//! Agents that answer questions as the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use drover_agent_api::v1::query::Question;
use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{
    FromController, Listening, PortsProbed, Query, QueryAnswer, from_controller,
};
use drover_controller::live::SESSION_QUEUE;
use drover_controller::records::Records;
use drover_model::{
    CpuFit, GuestInspection, HostId, IncomingCheck, IncomingQuestion, RunningQemu, TyingDevice,
};
use drover_ports::Clock as _;
use tokio::sync::mpsc;

use crate::world::World;

/// What an agent says that has nothing against anything, to be spoilt.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) cpu: CpuFit,
    pub(crate) ties: Vec<TyingDevice>,
    /// Of every guest; none as it is recorded.
    pub(crate) qemu: Option<RunningQemu>,
    pub(crate) clock_ahead_ms: i64,
    /// It hears and says nothing.
    pub(crate) silent: bool,
    /// How often it was asked for a guest.
    pub(crate) inspected: Arc<AtomicUsize>,
}

impl Default for Says {
    fn default() -> Self {
        let (silent, inspected) = (false, Arc::default());
        Self {
            cpu: CpuFit::Fits,
            ties: Vec::new(),
            qemu: None,
            clock_ahead_ms: 0,
            silent,
            inspected,
        }
    }
}

/// Connects the agent of a host.
pub(crate) fn connect(world: &World, host: HostId, says: Says) {
    let (sender, mut receiver) = mpsc::channel(SESSION_QUEUE);
    world.live.connect(host, sender, world.clock.now());
    let (live, records) = (Arc::clone(&world.live), Arc::clone(&world.records));
    let clock = Arc::clone(&world.clock);
    tokio::spawn(async move {
        while let Some(FromController { body }) = receiver.recv().await {
            let Some(from_controller::Body::Query(Query { query_id, question })) = body else {
                continue;
            };
            if says.silent {
                continue;
            }
            let answer = answer(question, host, &records, &says);
            let at_ms = clock.now().as_millis() + says.clock_ahead_ms;
            let answer = QueryAnswer { query_id, at_ms, answer: Some(answer) };
            live.answered(host, answer, clock.now());
        }
    });
}

/// What an agent answers about its guests and its ports.
pub(crate) fn answer(
    question: Option<Question>,
    host: HostId,
    records: &Records,
    says: &Says,
) -> Answer {
    match question {
        Some(Question::InspectGuest(asked)) => {
            says.inspected.fetch_add(1, Ordering::Relaxed);
            let id = asked.guest_id.parse().unwrap();
            let guest = records.read().guests.get(id).unwrap().guest.clone();
            Answer::GuestJson(serde_json::to_vec(&inspection(guest, host, says)).unwrap())
        }
        Some(Question::MeasureDirtying(_)) => Answer::DirtiedJson(b"[]".to_vec()),
        Some(Question::CheckIncoming(asked)) => {
            let asked: IncomingQuestion = serde_json::from_slice(&asked.question_json).unwrap();
            // It has every directory, and no file of a host's own.
            let is_own = |path: &String| path.starts_with("/var/local/");
            let check = IncomingCheck {
                host_uuid: Some(host),
                cpu: says.cpu.clone(),
                hugepages: Vec::new(),
                missing_paths: asked.paths.into_iter().filter(is_own).collect(),
            };
            Answer::IncomingJson(serde_json::to_vec(&check).unwrap())
        }
        Some(Question::ListenForProbe(_)) => Answer::Listening(Listening { port: 49215 }),
        Some(Question::ProbePorts(_)) => {
            Answer::PortsProbed(PortsProbed { probes_json: b"[]".to_vec() })
        }
        other => panic!("not expected: {other:?}"),
    }
}

fn inspection(guest: drover_model::Guest, host: HostId, says: &Says) -> GuestInspection {
    let qemu = says.qemu.clone().or_else(|| guest.qemu.clone());
    GuestInspection {
        guest: drover_model::Guest { qemu, ..guest },
        host_uuid: Some(host),
        cpu_xml: Some("<cpu/>".to_owned()),
        cpu_features: Vec::new(),
        hugepages_kib: Vec::new(),
        media: Vec::new(),
        ties: says.ties.clone(),
        files: Vec::new(),
    }
}
