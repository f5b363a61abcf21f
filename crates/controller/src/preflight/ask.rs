//! The questions, and their answers as the model's types.

use drover_agent_api::v1::{CheckIncoming, InspectGuest, ListenForProbe, ProbePorts};
use drover_model::{
    CpuFit, CpuPlatform, Guest, GuestId, GuestInspection, Host, HostId, IncomingQuestion, PortProbe,
};
use drover_rules::preflight::{paths, places};
use serde::de::DeserializeOwned;

use super::{Incoming, Journey};
use crate::live::{Answer, AskError, Live, Question};

/// How long a target listens for the source's connection: a round trip to the source's agent
/// and its patience with the connection.
const LISTEN_MS: u32 = 8_000;

/// JSON of the model's types cannot fail: they have no maps with other keys than strings.
pub fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Reads an agent's answer.
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| format!("its answer is unreadable: {error}"))
}

/// What a guest's CPU is compared for.
pub fn platform_of(guest: &Guest) -> CpuPlatform {
    CpuPlatform {
        virt_type: guest.virt_type.clone(),
        arch: guest.arch.clone(),
        machine: guest.machine.clone(),
    }
}

/// Asks a host for one of its guests.
pub async fn inspect(
    live: &Live,
    source: HostId,
    guest: GuestId,
) -> Result<GuestInspection, String> {
    let asked = Question::InspectGuest(InspectGuest { guest_id: guest.to_string() });
    match live.ask(source, asked).await {
        Ok(Answer::GuestJson(json)) => decode(&json),
        other => Err(why(other)),
    }
}

/// Asks a target whether it can take the guest.
pub(super) async fn incoming(
    live: &Live,
    target: HostId,
    journey: &Journey,
    known: Option<&GuestInspection>,
) -> Incoming {
    let guest = known.map_or(&journey.guest, |known| &known.guest);
    let question = IncomingQuestion {
        platform: platform_of(guest),
        cpu_xml: known.and_then(|known| known.cpu_xml.clone()),
        paths: [known.map(paths).unwrap_or_default(), places(&journey.copies)].concat(),
    };
    ask_incoming(live, target, &question).await
}

/// Asks a host whether it has a CPU.
pub async fn cpu_fit(
    live: &Live,
    host: HostId,
    platform: CpuPlatform,
    cpu_xml: String,
) -> Result<CpuFit, String> {
    let question = IncomingQuestion { platform, cpu_xml: Some(cpu_xml), paths: Vec::new() };
    Ok(ask_incoming(live, host, &question).await?.cpu)
}

async fn ask_incoming(live: &Live, host: HostId, question: &IncomingQuestion) -> Incoming {
    let asked = Question::CheckIncoming(CheckIncoming { question_json: encode(question) });
    match live.ask(host, asked).await {
        Ok(Answer::IncomingJson(json)) => decode(&json),
        other => Err(why(other)),
    }
}

/// Lets the target listen and the source connect.
pub(super) async fn ports(
    live: &Live,
    source: HostId,
    target: &Host,
) -> Result<Vec<PortProbe>, String> {
    let address = target.migration_address.clone();
    let listen = ListenForProbe { address: address.clone(), for_ms: LISTEN_MS };
    let listening = match live.ask(target.id, Question::ListenForProbe(listen)).await {
        Ok(Answer::Listening(listening)) => listening,
        other => return Err(format!("{} does not listen: {}", target.name, why(other))),
    };
    let peer_uri = target.peer_uri.clone();
    let probe = ProbePorts { address, migration_port: listening.port, peer_uri };
    match live.ask(source, Question::ProbePorts(probe)).await {
        Ok(Answer::PortsProbed(probed)) => decode(&probed.probes_json),
        other => Err(why(other)),
    }
}

fn why(answer: Result<Answer, AskError>) -> String {
    match answer {
        Ok(_) => AskError::Unexpected.to_string(),
        Err(error) => error.to_string(),
    }
}
