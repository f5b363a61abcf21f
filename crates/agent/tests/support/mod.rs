//! A controller and a hypervisor to test the agent against.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part of this")]

pub mod controller;
pub mod hypervisor;
pub mod inspection;
pub mod pki;

use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use drover_agent::config::Config;
use drover_agent::identity::{Card, Identity};
use drover_agent::migration::RecoveryPace;
use drover_agent::shutdown::{ShutdownTrigger, shutdown};
use drover_lifecycle::recovery::Patience;
use drover_model::HostId;
use drover_ports::Hypervisor;
use drover_ports::memory::MemoryOwnBmc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use pki::Pki;

pub const HOST: HostId = HostId::from_u128(0xA);

/// Longest wait for anything that should happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Broken post-copy is gone on with so that a test need not wait.
pub const RECOVERY: RecoveryPace = RecoveryPace {
    try_again: Duration::from_millis(100),
    look: Duration::from_millis(50),
    hangs_after: Duration::from_millis(500),
    patience: Patience { at_least_ms: 600, at_most_ms: 1_200 },
};

/// As main.rs does it.
pub fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
}

/// An agent in this process.
pub struct Agent {
    trigger: ShutdownTrigger,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Agent {
    pub fn start(state_dir: &Path, more: &str, hypervisor: Arc<dyn Hypervisor>) -> Self {
        // The machine under the test may have one.
        Self::start_with(state_dir, more, hypervisor, MemoryOwnBmc::default())
    }

    pub fn start_with(
        state_dir: &Path,
        more: &str,
        hypervisor: Arc<dyn Hypervisor>,
        own_bmc: MemoryOwnBmc,
    ) -> Self {
        install_tls_provider();
        let text = format!(
            "state_dir = \"{}\"\nshared_paths = [\"/srv/shared\"]\n{more}",
            state_dir.display()
        );
        let config = Config::parse(&text).unwrap();
        let (trigger, wish) = shutdown();
        let task = tokio::spawn(async move {
            let prepared = drover_agent::Prepared::new(config)?.recovering_at(RECOVERY);
            prepared.run(hypervisor, Arc::new(own_bmc), wish).await
        });
        Self { trigger, task }
    }

    pub async fn stop(self) {
        self.trigger.ask();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    /// The error with which it ended by itself.
    pub async fn failure(self) -> String {
        format!("{:#}", timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap_err())
    }
}

/// A host that has joined the cluster of `pki`.
pub fn joined_state_dir(pki: &Pki, agent_url: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (certificate_pem, key_pem) = pki.issue(&HOST.to_string(), &[]);
    Identity {
        card: Card { host_id: HOST, host_name: "h1".to_owned(), agent_url: agent_url.to_owned() },
        key_pem,
        certificate_pem,
        ca_pem: pki.ca_pem(),
    }
    .store(directory.path())
    .unwrap();
    directory
}
