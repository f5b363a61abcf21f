//! Sessions with the controller: the agent dials, and dials again.
//!
//! A session begins with a hello and an inventory; from then on both sides talk as they
//! need. What a session loses is said again in the next one: samples by the agent, commands
//! by the controller.

mod backoff;
mod definitions;
mod dial;
mod inventory;
pub mod outbox;
mod speak;

use std::sync::Arc;

use anyhow::Result;
use drover_model::HostCapabilities;
use drover_ports::Hypervisor;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::command::Commands;
use crate::config::Config;
use crate::identity::Identity;
use crate::images::facts::Images;
use crate::observe::sampler::SampleStore;
use crate::query::Queries;
use crate::shutdown::Shutdown;
use crate::{random, reach};
use outbox::Outbox;

/// A controller that is away is worth a line in the log about every half minute.
const ATTEMPTS_PER_WARNING: u32 = 12;

/// What sessions need of the rest of the agent.
pub struct Link {
    /// The agent's configuration.
    pub config: Config,
    /// Who this host is.
    pub identity: Identity,
    /// Differs after each start.
    pub incarnation: String,
    /// The host's hypervisor.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// What the host can do, as of now.
    pub capabilities: watch::Receiver<HostCapabilities>,
    /// Samples to deliver.
    pub samples: Arc<SampleStore>,
    /// Sets how often to sample.
    pub sample_interval: watch::Sender<std::time::Duration>,
    /// Carries out commands.
    pub commands: Arc<Commands>,
    /// What the guests' images are.
    pub images: Images,
    /// Answers questions.
    pub queries: Arc<Queries>,
    /// What goes to the controller.
    pub outbox: Outbox,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Link {
    /// Holds sessions, one after another, until the agent is to end.
    pub async fn run(&self, mut shutdown: Shutdown) -> Result<()> {
        let endpoint = dial::endpoint(&self.identity)?;
        let mut attempt = 0;
        loop {
            let began = Instant::now();
            let session = async {
                let channel = dial::connect(&endpoint).await?;
                self.speak(channel, shutdown.clone()).await
            };
            let mut end = shutdown.clone();
            let outcome = tokio::select! {
                biased;
                outcome = session => outcome,
                // A session ends by itself; this is for one that has not begun.
                () = end.asked_and(speak::FAREWELL_TIMEOUT * 2) => return Ok(()),
            };
            if shutdown.is_asked() {
                return Ok(());
            }
            match outcome {
                Ok(()) => info!("the controller ended the session"),
                Err(error) if attempt % ATTEMPTS_PER_WARNING == 0 => warn!(
                    controller = self.identity.card.agent_url,
                    "no session with the controller: {error:#}"
                ),
                Err(error) => debug!("still no session: {error:#}"),
            }
            attempt = if began.elapsed() >= backoff::SETTLED { 0 } else { attempt + 1 };
            let pause = backoff::pause(attempt, random::fraction());
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.asked() => return Ok(()),
            }
        }
    }

    /// Where other hosts' QEMU sends migration data. Found out anew for each session: the
    /// host's addresses may change.
    fn migration_address(&self) -> String {
        self.config.migration_address.clone().unwrap_or_else(|| {
            reach::address_towards(&self.identity.card.agent_url)
                .map(|address| address.to_string())
                .unwrap_or_default()
        })
    }

    fn peer_uri(&self, migration_address: &str) -> String {
        self.config.peer_uri.clone().unwrap_or_else(|| reach::default_peer_uri(migration_address))
    }
}
