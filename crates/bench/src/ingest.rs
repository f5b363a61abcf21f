//! How many samples one droverd takes: simulated agents over real mutual TLS, as fast as
//! they are acknowledged.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use drover_agent_api::v1::agent_link_client::AgentLinkClient;
use drover_agent_api::v1::{
    FromAgent, Hello, Sample, Samples, Value, from_agent, from_controller, sample,
};
use drover_api::client::{Client, ClientConfig};
use drover_api::v1::{EnrollRequest, SeriesQuery};
use drover_model::{HostCapabilities, Metric};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::row::{process, single};

/// Simulated agents.
const AGENTS: u128 = 20;
/// Guests of each.
const GUESTS: u128 = 50;
/// Metrics of a host and of a guest, about what an agent sends.
const METRICS: [Metric; 8] = [
    Metric::CpuUsageActive,
    Metric::MemAvailable,
    Metric::SwapUsed,
    Metric::PsiCpuSome,
    Metric::NetRxRate,
    Metric::NetTxRate,
    Metric::DiskReadRate,
    Metric::DiskWriteRate,
];
/// They push for so long.
const PUSHED: Duration = Duration::from_secs(10);

struct Droverd(Child);

impl Drop for Droverd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir()?;
    let droverd = start(dir.path())?;
    let pid = droverd.0.id().to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (samples, cpu) = runtime.block_on(push(dir.path(), &pid))?;
    let seconds = PUSHED.as_secs_f64();
    let note = format!("{AGENTS} agents, {GUESTS} guests each, 8 values a sample, stored");
    single("samples taken in a second", samples / seconds, "samples/s", &note);
    single("samples for a second of droverd's CPU", samples / cpu, "samples", "a full core");
    let (_, resident, anonymous) = process(&pid)?;
    let note = format!("after the push; {anonymous:.0} MiB of it anonymous");
    single("droverd memory under this load", resident, "MiB", &note);
    Ok(())
}

fn start(dir: &Path) -> anyhow::Result<Droverd> {
    let own = std::env::current_exe()?;
    let program = own.parent().context("a program has a directory")?.join("droverd");
    let child = Command::new(program)
        .arg("--state-dir")
        .arg(dir)
        .args(["--api-listen", "127.0.0.1:17440", "--agent-listen", "127.0.0.1:17441"])
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .context("start droverd; build it with the same profile")?;
    let droverd = Droverd(child);
    let begun = Instant::now();
    while !dir.join("admin.toml").exists()
        || std::net::TcpStream::connect("127.0.0.1:17441").is_err()
    {
        ensure!(begun.elapsed() < Duration::from_secs(10), "droverd does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(droverd)
}

/// Samples that were stored, and the CPU seconds they took.
async fn push(dir: &Path, pid: &str) -> anyhow::Result<(f64, f64)> {
    let admin: toml::Table = std::fs::read_to_string(dir.join("admin.toml"))?.parse()?;
    let text = |name: &str| admin.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let client = Client::new(ClientConfig {
        url: "https://127.0.0.1:17440".to_owned(),
        token: text("token"),
        ca_pem: text("ca_pem"),
    })?;
    let ca = text("ca_pem").context("admin.toml has a CA")?;
    let mut links = Vec::new();
    for number in 1..=AGENTS {
        links.push(connect(&client, &ca, number).await?);
    }
    let (before, _, _) = process(pid)?;
    let until = Instant::now() + PUSHED;
    let pushing = links
        .into_iter()
        .enumerate()
        .map(|(index, link)| tokio::spawn(push_one(link, index as u128 + 1, until)));
    let mut messages = Vec::new();
    for task in pushing.collect::<Vec<_>>() {
        messages.push(task.await??);
    }
    let (after, _, _) = process(pid)?;
    check_stored(&client, messages.first().copied().unwrap_or_default()).await?;
    let all: u32 = messages.iter().sum();
    let a_message = 1.0 + f64::from(u32::try_from(GUESTS)?);
    Ok((f64::from(all) * a_message, after - before))
}

/// What was acknowledged can be read: nothing was dropped on the way.
async fn check_stored(client: &Client, messages: u32) -> anyhow::Result<()> {
    let query = SeriesQuery { since: Some("1h".to_owned()), resolution: Some("full".to_owned()) };
    let series = client.host_series("sim1", METRICS[0].name(), &query).await?;
    let stored = series.points.len();
    // What was under way at the end may be there as well.
    ensure!(
        stored >= usize::try_from(messages)? && stored <= usize::try_from(messages)? + 4,
        "{messages} messages of an agent were acknowledged, {stored} samples of it are stored"
    );
    Ok(())
}

type Link = AgentLinkClient<tonic::transport::Channel>;

async fn connect(client: &Client, ca: &str, number: u128) -> anyhow::Result<Link> {
    let key = rcgen::KeyPair::generate()?;
    let csr = rcgen::CertificateParams::new(Vec::<String>::new())?.serialize_request(&key)?;
    let request = EnrollRequest {
        token: client.join_token().await?.token,
        host_id: drover_model::HostId::from_u128(number).to_string(),
        host_name: format!("sim{number}"),
        addresses: vec![],
        csr_pem: csr.pem()?,
    };
    let enrolled = client.enroll(&request).await?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .identity(Identity::from_pem(enrolled.certificate_pem, key.serialize_pem()))
        .domain_name("localhost");
    let endpoint = Endpoint::from_static("https://127.0.0.1:17441").tls_config(tls)?;
    Ok(AgentLinkClient::new(endpoint.connect().await?))
}

/// One agent: a message of one sample of the host and one of each guest, then the next
/// when it is acknowledged, with four under way.
async fn push_one(mut link: Link, number: u128, until: Instant) -> anyhow::Result<u32> {
    let (sender, outgoing) = tokio::sync::mpsc::channel(16);
    let say = |body| FromAgent { body: Some(body) };
    let hello = Hello {
        host_id: drover_model::HostId::from_u128(number).to_string(),
        host_name: format!("sim{number}"),
        agent_version: "bench".to_owned(),
        incarnation: "1".to_owned(),
        capabilities_json: serde_json::to_vec(&HostCapabilities::default())?,
        migration_address: String::new(),
        peer_uri: String::new(),
    };
    sender.send(say(from_agent::Body::Hello(hello))).await?;
    let mut incoming = link.session(ReceiverStream::new(outgoing)).await?.into_inner();
    let begun = now_ms();
    let mut sequence = 0;
    for _ in 0..4 {
        sequence += 1;
        sender.send(say(from_agent::Body::Samples(message(number, sequence, begun)))).await?;
    }
    let mut taken = 0;
    while let Some(said) = incoming.next().await {
        if let Some(from_controller::Body::SamplesAck(_)) = said?.body {
            taken += 1;
            if Instant::now() >= until {
                return Ok(taken);
            }
            sequence += 1;
            sender.send(say(from_agent::Body::Samples(message(number, sequence, begun)))).await?;
        }
    }
    Ok(taken)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// One sample of each, a millisecond after the ones before: all of now, none the same.
fn message(number: u128, sequence: u64, begun: i64) -> Samples {
    let at_ms = begun + i64::try_from(sequence).unwrap_or_default();
    let values: Vec<Value> = METRICS
        .iter()
        .map(|metric| Value { metric: u32::from(metric.code()), value: 12.5 })
        .collect();
    let guest = |index: u128| {
        sample::Entity::Guest(drover_model::GuestId::from_u128(number * 1000 + index).to_string())
    };
    let entities = std::iter::once(sample::Entity::Host(true)).chain((0..GUESTS).map(guest));
    let samples = entities
        .map(|entity| Sample { entity: Some(entity), at_ms, values: values.clone() })
        .collect();
    Samples { sequence, samples }
}
