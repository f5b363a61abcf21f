//! Joins the parts. The only file of the controller that names a concrete adapter.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use drover_adapter_power::BmcPower;
use drover_adapter_sqlite::{SqliteHistory, SqliteStore};
use drover_agent_api::MAX_MESSAGE_BYTES;
use drover_agent_api::v1::agent_link_server::AgentLinkServer;
use drover_api::v1::Role;
use drover_ports::{Clock, History, Store};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::ca::{Authority, ServerIdentity};
use crate::config::Config;
use crate::engine::Engine;
use crate::events::{Draft, Events, Severity};
use crate::http::{Api, router};
use crate::link::Link;
use crate::live::Live;
use crate::moment::SystemClock;
use crate::power::{BmcWatts, Bmcs, Switchboard, Vault};
use crate::reconcile::balance::Last;
use crate::reconcile::saving::TURN;
use crate::reconcile::{
    AdvancePlans, BalanceCluster, CarryOutOperations, DrainHosts, EvaluateRules, FollowPlans,
    KeepHouse, KeepPowerCaps, LearnPowerLines, ManagePower, MeasureBmcs, NoteParked, Reconcile,
    ReviewCopies, SwitchHosts, WatchHosts,
};
use crate::records::{Records, Txn};
use crate::tokens::new_token;
use crate::{driver, files};

/// Operations are said again so often: the bound on what a lost message costs.
const SAY_AGAIN_EVERY: Duration = Duration::from_secs(3);
/// Plans are looked at so often.
const FOLLOW_PLANS_EVERY: Duration = Duration::from_secs(1);
/// Hosts are looked at so often.
const WATCH_HOSTS_EVERY: Duration = Duration::from_secs(2);
/// Guests that seem to be in two places are looked at again so often.
const REVIEW_COPIES_EVERY: Duration = Duration::from_secs(1);
/// Hosts that are to be empty are looked at so often.
const DRAIN_HOSTS_EVERY: Duration = Duration::from_secs(1);
/// Hosts that are switched on or off are looked at so often.
const SWITCH_HOSTS_EVERY: Duration = Duration::from_secs(1);
/// BMCs are asked what their hosts draw once a sample interval, but no more often than this:
/// most measure anew once a second.
const MEASURE_BMCS_AT_MOST: Duration = Duration::from_secs(1);
/// Limits are kept so often.
const KEEP_HOUSE_EVERY: Duration = Duration::from_secs(60);
/// Hosts whose power is to be learned are looked for so often.
const LEARN_POWER_LINES_EVERY: Duration = Duration::from_secs(10);
/// Hosts that were parked or woken are noted so often: what a report may be off for each.
const NOTE_PARKED_EVERY: Duration = Duration::from_secs(5);
/// A silent agent connection is probed so often; HTTP/2 ping.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Open connections get so long to end when droverd is told to stop.
const GRACE: Duration = Duration::from_secs(1);

struct Parts {
    records: Arc<Records>,
    live: Arc<Live>,
    events: Arc<Events>,
    engine: Engine,
    history: Arc<dyn History>,
    clock: Arc<dyn Clock>,
    authority: Arc<Authority>,
    power: Switchboard,
}

/// Runs the controller until it is told to stop.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let parts = open(&config).await?;
    let identity = parts.authority.server(&config.advertise)?;
    write_admin_config(&config, &parts).await?;
    let reconcilers = start_reconcilers(&config, &parts);
    let agents =
        tokio::spawn(serve_agents(config.clone(), link(&config, &parts), identity.clone()));
    let handle = axum_server::Handle::new();
    let users =
        tokio::spawn(serve_users(config.clone(), api(&config, &parts), identity, handle.clone()));
    tracing::info!(api = %config.api_listen, agents = %config.agent_listen, "droverd is up");
    let text = format!("droverd {} started", env!("CARGO_PKG_VERSION"));
    parts.events.record(Draft::new("controller.started", Severity::Info, text)).await;
    let ended = tokio::select! {
        ended = agents => ended.context("the agents' listener")?.context("the agents' listener"),
        ended = users => ended.context("the API listener")?.context("the API listener"),
        signal = stop_signal() => signal,
    };
    handle.graceful_shutdown(Some(GRACE));
    for reconciler in reconcilers {
        reconciler.abort();
    }
    ended
}

async fn open(config: &Config) -> anyhow::Result<Parts> {
    let dir = &config.state_dir;
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&dir.join("drover.db")).context("open the database")?);
    let history: Arc<dyn History> =
        Arc::new(SqliteHistory::open(&dir.join("history.db")).context("open the metric history")?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let records = Arc::new(Records::load(Arc::clone(&store)).await.context("read the records")?);
    let live = Arc::new(Live::default());
    let events =
        Arc::new(Events::load(store, Arc::clone(&clock)).await.context("read the events")?);
    let engine = Engine::new(
        Arc::clone(&records),
        Arc::clone(&live),
        Arc::clone(&events),
        Arc::clone(&clock),
    );
    let authority = Arc::new(Authority::open(dir)?);
    let power = Switchboard {
        records: Arc::clone(&records),
        live: Arc::clone(&live),
        events: Arc::clone(&events),
        history: Arc::clone(&history),
        clock: Arc::clone(&clock),
        bmcs: Arc::new(Bmcs::new(Arc::new(BmcPower::default()), Vault::in_dir(dir))),
        watts: Arc::new(BmcWatts::default()),
        sample_interval: config.sample_interval,
        unreachable_after: config.unreachable_after,
        asked: Arc::default(),
        searching: Arc::default(),
    };
    Ok(Parts { records, live, events, engine, history, clock, authority, power })
}

/// The first start makes the administrator's token; `admin.toml` is a client configuration
/// that only root can read.
async fn write_admin_config(config: &Config, parts: &Parts) -> anyhow::Result<()> {
    let path = config.state_dir.join("admin.toml");
    if !parts.records.read().tokens.is_empty() && path.exists() {
        return Ok(());
    }
    let (record, secret) = new_token("admin".to_owned(), Role::Admin, parts.clock.now());
    let text = format!(
        "url = \"{}\"\ntoken = \"{secret}\"\nca_pem = '''\n{}'''\n",
        config.api_url(),
        parts.authority.certificate_pem()
    );
    parts
        .records
        .update(|_| {
            let mut txn = Txn::none();
            txn.add(record);
            (txn, ())
        })
        .await?;
    files::write_private(&path, text.as_bytes())
}

fn start_reconcilers(config: &Config, parts: &Parts) -> Vec<tokio::task::JoinHandle<()>> {
    let (records, live) = (Arc::clone(&parts.records), Arc::clone(&parts.live));
    let (events, clock) = (Arc::clone(&parts.events), Arc::clone(&parts.clock));
    let (history, engine) = (Arc::clone(&parts.history), parts.engine.clone());
    let sample_interval = config.sample_interval;
    let rules = EvaluateRules {
        records: Arc::clone(&records),
        events: Arc::clone(&events),
        engine: engine.clone(),
        history: Arc::clone(&history),
        clock: Arc::clone(&clock),
        sample_interval,
        said: Mutex::default(),
        unwakeable: Mutex::default(),
    };
    let balance = BalanceCluster {
        records: Arc::clone(&records),
        events: Arc::clone(&events),
        engine: engine.clone(),
        history: Arc::clone(&history),
        clock: Arc::clone(&clock),
        sample_interval,
        last: Mutex::new(Last::default()),
    };
    let advance = AdvancePlans {
        records: Arc::clone(&records),
        events: Arc::clone(&events),
        engine: engine.clone(),
        history: Arc::clone(&history),
        clock: Arc::clone(&clock),
        sample_interval,
    };
    let plans = FollowPlans {
        records: Arc::clone(&records),
        events: Arc::clone(&events),
        history: Arc::clone(&history),
        clock: Arc::clone(&clock),
        sample_interval,
    };
    let hosts = WatchHosts {
        records: Arc::clone(&records),
        live,
        events: Arc::clone(&events),
        clock: Arc::clone(&clock),
        unreachable_after: config.unreachable_after,
        since: parts.clock.now(),
    };
    let copies = ReviewCopies {
        records: Arc::clone(&records),
        live: Arc::clone(&parts.live),
        events: Arc::clone(&events),
        clock: Arc::clone(&clock),
    };
    let house = KeepHouse { records, events, history, clock };
    let all: [(Duration, Arc<dyn Reconcile>); 10] = [
        (TURN, Arc::new(manage_power(config, parts))),
        (DRAIN_HOSTS_EVERY, Arc::new(drain_hosts(config, parts))),
        (REVIEW_COPIES_EVERY, Arc::new(copies)),
        (config.evaluation_interval, Arc::new(rules)),
        (config.evaluation_interval, Arc::new(balance)),
        (FOLLOW_PLANS_EVERY, Arc::new(advance)),
        (FOLLOW_PLANS_EVERY, Arc::new(plans)),
        (WATCH_HOSTS_EVERY, Arc::new(hosts)),
        (SAY_AGAIN_EVERY, Arc::new(CarryOutOperations { engine })),
        (KEEP_HOUSE_EVERY, Arc::new(house)),
    ];
    let all = all.into_iter().chain(of_power(config, parts));
    all.map(|(interval, reconciler)| driver::every(interval, reconciler)).collect()
}

/// Reconcilers of what hosts draw, and of which are on.
fn of_power(config: &Config, parts: &Parts) -> [(Duration, Arc<dyn Reconcile>); 5] {
    let (power, records) = (|| parts.power.clone(), Arc::clone(&parts.records));
    let parked = NoteParked { records, clock: Arc::clone(&parts.clock) };
    [
        (SWITCH_HOSTS_EVERY, Arc::new(SwitchHosts::new(power()))),
        (config.sample_interval.max(MEASURE_BMCS_AT_MOST), Arc::new(MeasureBmcs::new(power()))),
        (config.evaluation_interval, Arc::new(keep_power_caps(config, parts))),
        (LEARN_POWER_LINES_EVERY, Arc::new(learn_power_lines(parts))),
        (NOTE_PARKED_EVERY, Arc::new(parked)),
    ]
}

fn drain_hosts(config: &Config, parts: &Parts) -> DrainHosts {
    DrainHosts {
        records: Arc::clone(&parts.records),
        events: Arc::clone(&parts.events),
        engine: parts.engine.clone(),
        history: Arc::clone(&parts.history),
        clock: Arc::clone(&parts.clock),
        sample_interval: config.sample_interval,
        tried: Mutex::default(),
    }
}

fn manage_power(config: &Config, parts: &Parts) -> ManagePower {
    ManagePower {
        records: Arc::clone(&parts.records),
        events: Arc::clone(&parts.events),
        engine: parts.engine.clone(),
        history: Arc::clone(&parts.history),
        clock: Arc::clone(&parts.clock),
        switches: Arc::new(parts.power.clone()),
        sample_interval: config.sample_interval,
        last: Mutex::default(),
    }
}

fn keep_power_caps(config: &Config, parts: &Parts) -> KeepPowerCaps {
    KeepPowerCaps {
        records: Arc::clone(&parts.records),
        events: Arc::clone(&parts.events),
        engine: parts.engine.clone(),
        history: Arc::clone(&parts.history),
        clock: Arc::clone(&parts.clock),
        sample_interval: config.sample_interval,
        said: Mutex::default(),
    }
}

fn learn_power_lines(parts: &Parts) -> LearnPowerLines {
    LearnPowerLines {
        records: Arc::clone(&parts.records),
        history: Arc::clone(&parts.history),
        clock: Arc::clone(&parts.clock),
        next: Mutex::default(),
    }
}

fn link(config: &Config, parts: &Parts) -> Link {
    Link {
        records: Arc::clone(&parts.records),
        live: Arc::clone(&parts.live),
        events: Arc::clone(&parts.events),
        engine: parts.engine.clone(),
        history: Arc::clone(&parts.history),
        clock: Arc::clone(&parts.clock),
        watts: Arc::clone(&parts.power.watts),
        sample_interval: config.sample_interval,
    }
}

fn api(config: &Config, parts: &Parts) -> Arc<Api> {
    Arc::new(Api {
        records: Arc::clone(&parts.records),
        live: Arc::clone(&parts.live),
        events: Arc::clone(&parts.events),
        engine: parts.engine.clone(),
        history: Arc::clone(&parts.history),
        clock: Arc::clone(&parts.clock),
        power: parts.power.clone(),
        authority: Arc::clone(&parts.authority),
        sample_interval: config.sample_interval,
        api_url: config.api_url(),
        agent_url: config.agent_url(),
    })
}

async fn serve_agents(config: Config, link: Link, identity: ServerIdentity) -> anyhow::Result<()> {
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&identity.certificate_pem, &identity.key_pem))
        .client_ca_root(Certificate::from_pem(ca_pem(&config)?));
    let service = AgentLinkServer::new(link)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Server::builder()
        .tls_config(tls)?
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_EVERY))
        .add_service(service)
        .serve(config.agent_listen)
        .await
        .with_context(|| format!("listen on {}", config.agent_listen))
}

fn ca_pem(config: &Config) -> anyhow::Result<String> {
    Ok(Authority::open(&config.state_dir)?.certificate_pem().to_owned())
}

async fn serve_users(
    config: Config,
    api: Arc<Api>,
    identity: ServerIdentity,
    handle: axum_server::Handle<std::net::SocketAddr>,
) -> anyhow::Result<()> {
    let tls = axum_server::tls_rustls::RustlsConfig::from_pem(
        identity.certificate_pem.into_bytes(),
        identity.key_pem.into_bytes(),
    )
    .await?;
    axum_server::bind_rustls(config.api_listen, tls)
        .handle(handle)
        .serve(router(api).into_make_service())
        .await
        .with_context(|| format!("listen on {}", config.api_listen))
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("wait for a signal"),
        _ = terminate.recv() => Ok(()),
    }
}
