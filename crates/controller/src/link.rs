//! The agents' side of the controller: gRPC sessions over mutual TLS.
//!
//! An agent is who its certificate says: the fingerprint that was recorded when it joined.

use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use drover_agent_api::v1::agent_link_server::AgentLink;
use drover_agent_api::v1::{
    ContinuityReport, Failure as WireFailure, FailureKind as WireKind, FromAgent, FromController,
    Hello, Inventory, MigrationUpdate, Sample, Samples, SamplesAck, Welcome, from_agent,
    from_controller, migration_update, sample,
};
use drover_api::v1::{LiveSample, Watch};
use drover_lifecycle::{Failure, FailureKind, MigrationEvent};
use drover_model::{
    Guest, GuestId, Host, HostCapabilities, HostId, HostState, Metric, OperationId, Timestamp,
};
use drover_ports::{Clock, Entity, History, SamplePoint};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::engine::{Engine, effect_of};
use crate::events::{Draft, Events, Severity};
use crate::inventory::{Finding, compare, enter};
use crate::live::{Live, SESSION_QUEUE};
use crate::moment::sha256_hex;
use crate::power::BmcWatts;
use crate::records::{DefinitionRecord, HostRecord, Records, Tables, Txn};

/// Most samples that one message may carry; more is cut off and logged.
const MAX_SAMPLES: usize = 20_000;

/// Messages of one session that may wait for the disk; beyond it the agent waits.
const BULK_QUEUE: usize = 64;

/// Serves agents.
#[derive(Clone)]
pub struct Link {
    /// Records.
    pub records: Arc<Records>,
    /// Sessions and newest samples.
    pub live: Arc<Live>,
    /// Event log.
    pub events: Arc<Events>,
    /// Operations.
    pub engine: Engine,
    /// Metric history.
    pub history: Arc<dyn History>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What BMCs say that hosts draw.
    pub watts: Arc<BmcWatts>,
    /// How often agents sample.
    pub sample_interval: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<FromController, Status>> + Send>>;

#[tonic::async_trait]
impl AgentLink for Link {
    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let host = self.who(&request)?;
        let beside = comes_from_here(request.remote_addr(), request.local_addr());
        let (sender, receiver) = mpsc::channel(SESSION_QUEUE);
        let number = self.live.connect(host, sender, self.clock.now());
        if beside {
            self.live.is_beside(host, number);
        }
        let link = self.clone();
        let inbound = request.into_inner();
        tokio::spawn(async move { link.serve(host, number, inbound).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(Ok))))
    }
}

impl Link {
    fn who(&self, request: &Request<Streaming<FromAgent>>) -> Result<HostId, Status> {
        let certificates = request.peer_certs();
        let certificate = certificates
            .as_ref()
            .and_then(|chain| chain.first())
            .ok_or_else(|| Status::unauthenticated("a client certificate is needed"))?;
        let fingerprint = sha256_hex(certificate);
        self.records
            .read()
            .agents
            .iter()
            .find(|agent| agent.sha256 == fingerprint)
            .map(|agent| agent.host)
            .ok_or_else(|| Status::permission_denied("this certificate belongs to no host"))
    }

    async fn serve(&self, host: HostId, number: u64, mut inbound: Streaming<FromAgent>) {
        let (bulk, waiting) = mpsc::channel(BULK_QUEUE);
        let link = self.clone();
        tokio::spawn(async move { link.take_bulk(host, waiting).await });
        loop {
            match inbound.next().await {
                Some(Ok(message)) => {
                    self.live.heard(host, self.clock.now());
                    let Some(body) = message.body else { continue };
                    if is_urgent(&body) {
                        self.take(host, body).await;
                    } else if bulk.send(body).await.is_err() {
                        break;
                    }
                }
                Some(Err(status)) => {
                    tracing::info!(%host, %status, "the agent's session broke");
                    break;
                }
                None => break,
            }
        }
        if self.live.disconnect(host, number) {
            tracing::info!(%host, "the agent's session ended");
        }
    }

    /// Samples and inventories wait for the disk; what a guest's blackout waits for does
    /// not wait behind them.
    async fn take_bulk(&self, host: HostId, mut waiting: mpsc::Receiver<from_agent::Body>) {
        while let Some(body) = waiting.recv().await {
            self.take(host, body).await;
        }
    }

    async fn take(&self, host: HostId, body: from_agent::Body) {
        match body {
            from_agent::Body::Hello(hello) => self.hello(host, hello).await,
            from_agent::Body::Samples(samples) => self.samples(host, samples).await,
            from_agent::Body::Inventory(inventory) => self.inventory(host, inventory).await,
            from_agent::Body::Result(result) => {
                let operation = OperationId::from_str(&result.operation_id);
                if let (Ok(operation), Some(effect)) = (operation, effect_of(&result.command_id)) {
                    self.engine.answered(operation, effect, result.failure.map(failure)).await;
                } else {
                    tracing::warn!(%host, command = %result.command_id, "an answer to no command");
                }
            }
            from_agent::Body::Migration(update) => self.migration(host, update).await,
            from_agent::Body::QueryAnswer(answer) => {
                self.live.answered(host, answer, self.clock.now());
            }
            from_agent::Body::Continuity(report) => self.continuity(host, report).await,
        }
    }

    async fn hello(&self, host: HostId, hello: Hello) {
        let now = self.clock.now();
        let welcome = Welcome {
            sample_interval_ms: u32::try_from(self.sample_interval.as_millis()).unwrap_or(5000),
            now_ms: now.as_millis(),
        };
        let body = Some(from_controller::Body::Welcome(welcome));
        self.live.send(host, FromController { body });
        self.live.introduced(host, hello.incarnation);
        let capabilities: HostCapabilities =
            serde_json::from_slice(&hello.capabilities_json).unwrap_or_default();
        let name = self
            .records
            .read()
            .agents
            .get(host)
            .map_or(hello.host_name, |agent| agent.name.clone());
        let record = Host {
            id: host,
            name: name.clone(),
            state: HostState::Degraded,
            last_seen: now,
            capabilities,
            migration_address: hello.migration_address,
            peer_uri: hello.peer_uri,
            agent_version: hello.agent_version,
        };
        let stored = self
            .records
            .update(|tables| {
                let before = tables.hosts.get(host);
                let known = before.is_some();
                // An agent that only lost its link for a moment does not make its host
                // degraded: the inventory that follows says how it is.
                let state = before.map_or(HostState::Degraded, |before| before.host.state);
                let disturbed = before.and_then(|before| before.disturbed);
                let mut txn = Txn::none();
                txn.change(before, HostRecord { host: Host { state, ..record }, disturbed });
                (txn, known)
            })
            .await;
        match stored {
            Ok(false) => {
                let text = format!("host {name} joined");
                self.events
                    .record(Draft::new("host.joined", Severity::Info, text).host(name))
                    .await;
            }
            Ok(true) => {}
            Err(error) => tracing::error!(%host, %error, "a host could not be stored"),
        }
        self.engine.say_again(Some(host));
    }

    async fn samples(&self, host: HostId, samples: Samples) {
        if samples.samples.len() > MAX_SAMPLES {
            tracing::warn!(%host, count = samples.samples.len(), "too many samples in a message");
        }
        let points: Vec<SamplePoint> = samples
            .samples
            .iter()
            .take(MAX_SAMPLES)
            .filter_map(|sample| point(host, sample))
            .collect();
        let (shown, kept) = self.watts.overlay(&self.records.read(), host, points);
        let shown = shown.as_ref().unwrap_or(&kept);
        self.live.sampled(shown);
        if self.events.is_watched() {
            self.publish(shown);
        }
        match self.history.append(kept).await {
            Ok(()) => {
                let ack = SamplesAck { sequence: samples.sequence };
                let body = Some(from_controller::Body::SamplesAck(ack));
                self.live.send(host, FromController { body });
            }
            Err(error) => tracing::error!(%host, %error, "samples could not be stored"),
        }
    }

    fn publish(&self, points: &[SamplePoint]) {
        let tables = self.records.read();
        for point in points {
            let values =
                point.values.iter().map(|(metric, value)| (metric.to_string(), *value)).collect();
            let message =
                match point.entity {
                    Entity::Host(id) => tables.hosts.get(id).map(|r| {
                        Watch::HostSample(LiveSample { name: r.host.name.clone(), values })
                    }),
                    Entity::Guest(id) => tables.guests.get(id).map(|r| {
                        Watch::GuestSample(LiveSample { name: r.guest.name.clone(), values })
                    }),
                };
            if let Some(message) = message {
                self.events.publish(message);
            }
        }
    }

    async fn inventory(&self, host: HostId, inventory: Inventory) {
        let now = self.clock.now();
        let guests: Vec<Guest> = if inventory.hypervisor_connected {
            match serde_json::from_slice(&inventory.guests_json) {
                Ok(guests) => guests,
                Err(error) => {
                    tracing::error!(%host, %error, "an inventory is unreadable");
                    return;
                }
            }
        } else {
            Vec::new()
        };
        let active = guests.iter().filter(|g| g.state.is_active()).map(|g| g.id).collect();
        self.live.inventory(host, inventory.hypervisor_connected, active);
        let capabilities: Option<HostCapabilities> =
            serde_json::from_slice(&inventory.capabilities_json).ok();
        let state =
            if inventory.hypervisor_connected { HostState::Online } else { HostState::Degraded };
        let definitions_json = &inventory.definitions_json;
        let told = self
            .records
            .update(|tables| {
                let mut txn = Txn::none();
                let mut drafts = Vec::new();
                let Some(before) = tables.hosts.get(host) else { return (txn, drafts) };
                let mut record = before.clone();
                record.host.state = state;
                record.host.last_seen = now;
                if let Some(capabilities) = capabilities {
                    record.host.capabilities = capabilities;
                }
                if record.host.state != before.host.state {
                    drafts.push(host_event(&record.host));
                }
                // `last_seen` alone is no news: it is kept in memory.
                if record.host.state != before.host.state
                    || record.host.capabilities != before.host.capabilities
                {
                    txn.change(before, record);
                }
                if inventory.hypervisor_connected {
                    let findings = compare(tables, host, &guests, &*self.live);
                    let room = drover_ports::MAX_CHANGES - 2;
                    self.live.unclear(host, unclear(&findings), now);
                    for record in
                        definitions(tables, host, definitions_json, now).into_iter().take(room)
                    {
                        txn.replace(record);
                    }
                    for finding in findings {
                        // What does not fit into one commit comes with the next inventory.
                        if txn.len() < room {
                            drafts.extend(enter(tables, &mut txn, &before.host.name, finding));
                        }
                    }
                }
                (txn, drafts)
            })
            .await;
        match told {
            Ok(drafts) => {
                for draft in drafts {
                    self.events.record(draft).await;
                }
            }
            Err(error) => tracing::error!(%host, %error, "an inventory could not be stored"),
        }
    }

    async fn migration(&self, host: HostId, update: MigrationUpdate) {
        let (Ok(operation), Some(body)) =
            (OperationId::from_str(&update.operation_id), update.body)
        else {
            return;
        };
        let from = self.records.read().operations.get(operation).map(|op| op.migration.from);
        if from != Some(host) {
            tracing::warn!(%host, %operation, "a migration update from a host that is not its source");
            return;
        }
        let event = match body {
            migration_update::Body::Note(note) => return self.engine.note(operation, note).await,
            migration_update::Body::ProgressJson(json) => {
                serde_json::from_slice(&json).ok().map(MigrationEvent::Progress)
            }
            migration_update::Body::SourceGone(true) => Some(MigrationEvent::SourceGone),
            migration_update::Body::SourceGone(false) => None,
            migration_update::Body::FinishedJson(json) => Some(MigrationEvent::SourceFinished(
                serde_json::from_slice(&json).unwrap_or_default(),
            )),
            migration_update::Body::Failed(wire) => {
                Some(MigrationEvent::SourceFailed(failure(wire)))
            }
            migration_update::Body::CopiedJson(json) => {
                serde_json::from_slice(&json).ok().map(MigrationEvent::SourceCopied)
            }
            migration_update::Body::WantsPostCopy(reason) => {
                Some(MigrationEvent::WantsPostCopy(reason))
            }
            migration_update::Body::PostCopyFailed(wire) => {
                Some(MigrationEvent::PostCopyFailed(failure(wire)))
            }
        };
        let Some(event) = event else { return };
        let is_progress = matches!(event, MigrationEvent::Progress(_));
        self.engine.take(operation, event).await;
        if is_progress && self.events.is_watched() {
            let shown = crate::http::operation_view(&self.records.read(), &self.live, operation);
            if let Some(shown) = shown {
                self.events.publish(Watch::Operation(Box::new(shown)));
            }
        }
    }
}

/// Definitions of guests that are this host's.
fn definitions(tables: &Tables, host: HostId, json: &[u8], at: Timestamp) -> Vec<DefinitionRecord> {
    let told: Vec<(GuestId, String)> = serde_json::from_slice(json).unwrap_or_default();
    let is_new = |guest: GuestId, xml: &str| {
        let foreign = tables.owners.get(guest).is_some_and(|owner| owner.host != host);
        let known = tables.definitions.get(guest).is_some_and(|known| known.xml == xml);
        !foreign && !known
    };
    told.into_iter()
        .filter(|(guest, xml)| is_new(*guest, xml))
        .map(|(guest, xml)| DefinitionRecord { guest, xml, at })
        .collect()
}

impl Link {
    /// Only the target's word counts: the source cannot know.
    async fn continuity(&self, host: HostId, report: ContinuityReport) {
        let Ok(operation) = OperationId::from_str(&report.operation_id) else { return };
        let to = self.records.read().operations.get(operation).map(|op| op.migration.to);
        if to != Some(host) {
            tracing::warn!(%host, %operation, "a blackout from a host that is not the target");
            return;
        }
        let ContinuityReport { blackout_ms: millis, still_silent, .. } = report;
        self.engine.take(operation, MigrationEvent::Blackout { millis, still_silent }).await;
    }
}

/// A connection from an address of this machine to the same one comes from this machine.
fn comes_from_here(remote: Option<SocketAddr>, local: Option<SocketAddr>) -> bool {
    matches!((remote, local), (Some(remote), Some(local)) if remote.ip() == local.ip())
}

fn unclear(findings: &[Finding]) -> Vec<Guest> {
    let guest = |finding: &Finding| match finding {
        Finding::Unclear { guest, .. } => Some(guest.clone()),
        _ => None,
    };
    findings.iter().filter_map(guest).collect()
}

/// Results and migration updates: a guest may be paused until they are taken. Somebody
/// waits for answers.
const fn is_urgent(body: &from_agent::Body) -> bool {
    use from_agent::Body as B;
    matches!(body, B::Result(_) | B::Migration(_) | B::QueryAnswer(_))
}

fn host_event(host: &Host) -> Draft {
    let (kind, severity) = match host.state {
        HostState::Online => ("host.online", Severity::Info),
        HostState::Degraded => ("host.degraded", Severity::Warning),
        HostState::Unreachable => ("host.unreachable", Severity::Error),
    };
    Draft::new(kind, severity, format!("host {} is {}", host.name, host.state.as_str()))
        .host(host.name.clone())
}

fn point(host: HostId, wire: &Sample) -> Option<SamplePoint> {
    let entity = match wire.entity.as_ref()? {
        sample::Entity::Host(_) => Entity::Host(host),
        sample::Entity::Guest(id) => Entity::Guest(GuestId::from_str(id).ok()?),
    };
    let values = wire
        .values
        .iter()
        .filter_map(|v| Some((Metric::from_code(u8::try_from(v.metric).ok()?)?, v.value)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    Some(SamplePoint { entity, at: Timestamp::from_millis(wire.at_ms), values })
}

fn failure(wire: WireFailure) -> Failure {
    let kind = match WireKind::try_from(wire.kind).unwrap_or(WireKind::Broken) {
        WireKind::Retry => FailureKind::Retry,
        WireKind::Conflict => FailureKind::Conflict,
        WireKind::Refused => FailureKind::Refused,
        WireKind::Gone => FailureKind::Gone,
        WireKind::Cancelled => FailureKind::Cancelled,
        WireKind::StaleEpoch => FailureKind::StaleEpoch,
        WireKind::Broken | WireKind::Unspecified => FailureKind::Broken,
    };
    Failure { kind, message: wire.message }
}
