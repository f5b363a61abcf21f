//! The agent at work: one process per host, for as long as the host is up.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use drover_model::PowerSource;
use drover_ports::{Hypervisor, OwnBmc};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::info;

use crate::command::Commands;
use crate::command::epoch::EpochGate;
use crate::config::Config;
use crate::describe::Describer;
use crate::identity::Identity;
use crate::images::claims::Claims;
use crate::images::facts::Images;
use crate::migration::RecoveryPace;
use crate::network::listen::listen;
use crate::observe::power::meter::PowerMeter;
use crate::observe::power::own_bmc::{FIRST_WAIT, OwnBmcWatts};
use crate::observe::read::Reader;
use crate::observe::sampler::{SampleStore, Sampler};
use crate::query::Queries;
use crate::random;
use crate::session::Link;
use crate::session::outbox::Outbox;
use crate::shutdown::Shutdown;

/// How often to sample until the controller says otherwise.
const DEFAULT_SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// An agent that has everything it needs but a hypervisor. Made before the connection to
/// libvirt, whose library must not be in the middle of its start when the process ends.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    identity: Identity,
    epochs: EpochGate,
    claims: Claims,
    recovery: RecoveryPace,
    _only_one: File,
}

impl Prepared {
    /// Reads what the host keeps; fails when it has not joined or an agent runs already.
    pub fn new(config: Config) -> Result<Self> {
        let identity = Identity::load(&config.state_dir)?;
        let only_one = lock(&config.state_dir)?;
        let path = config.state_dir.join("epochs");
        let epochs = EpochGate::open(&path)
            .with_context(|| format!("cannot read the epochs in {}", path.display()))?;
        let path = config.state_dir.join("claims");
        let claims = Claims::open(&path)
            .with_context(|| format!("cannot read the claims in {}", path.display()))?;
        let recovery = RecoveryPace::default();
        Ok(Self { config, identity, epochs, claims, recovery, _only_one: only_one })
    }

    /// The same, going on with broken post-copy at another pace: for tests.
    pub const fn recovering_at(mut self, pace: RecoveryPace) -> Self {
        self.recovery = pace;
        self
    }

    /// Runs the agent until it is asked to end.
    pub async fn run(
        self,
        hypervisor: Arc<dyn Hypervisor>,
        own_bmc: Arc<dyn OwnBmc>,
        shutdown: Shutdown,
    ) -> Result<()> {
        let Self { config, identity, epochs, claims, recovery, _only_one } = self;
        let host = identity.card.host_id;
        info!(name = identity.card.host_name, %host, version = env!("CARGO_PKG_VERSION"), "starting");

        let own_bmc = Arc::new(OwnBmcWatts::new(own_bmc));
        let asks_bmc = config.power.sources.contains(&PowerSource::Ipmi);
        if asks_bmc {
            // Without an answer by then, other sources begin.
            let _ = timeout(FIRST_WAIT, own_bmc.ask()).await;
        }
        let power = PowerMeter::new(config.power.clone()).with_own_bmc(Arc::clone(&own_bmc));
        let power = Arc::new(power);
        let (mut describer, capabilities) =
            Describer::new(config.clone(), host, Arc::clone(&hypervisor), Arc::clone(&power));
        describer.begin().await?;

        let every = config.sample_interval.unwrap_or(DEFAULT_SAMPLE_INTERVAL);
        let (sample_interval, interval_changes) = watch::channel(every);
        let samples = Arc::new(SampleStore::default());
        let reader = Reader::new(config.accounting.clone(), power);
        let sampler = Sampler::new(reader, Arc::clone(&hypervisor), Arc::clone(&samples));

        let outbox = Outbox::default();
        let shared_paths = config.shared_paths.clone();
        let commands = Commands::new(
            host,
            Arc::clone(&hypervisor),
            epochs,
            claims,
            shared_paths,
            outbox.clone(),
            recovery,
        );
        let queries = Queries::new(Arc::clone(&commands), config.power.off_command.clone());
        let link = Link {
            config,
            identity,
            incarnation: random::hex(16),
            hypervisor,
            capabilities,
            samples,
            sample_interval,
            commands: Arc::clone(&commands),
            images: Images::default(),
            queries,
            outbox,
        };

        let mut beside = JoinSet::new();
        beside.spawn(sampler.run(interval_changes));
        if asks_bmc {
            beside.spawn(async move { match own_bmc.run().await {} });
        }
        let listening = Arc::clone(&commands);
        beside.spawn(async move { match listen(listening).await {} });
        let outcome = tokio::select! {
            outcome = link.run(shutdown) => outcome,
            changed = describer.run() => match changed {
                Ok(never) => match never {},
                Err(error) => Err(error),
            },
        };
        commands.stop();
        info!("ended; migrations that run go on without the agent");
        outcome
    }
}

/// Two agents with one state directory would each believe their own epochs.
fn lock(state_dir: &Path) -> Result<File> {
    let path = state_dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!("another drover-agent runs with {}", state_dir.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
