//! The command line.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::join::libvirt_pki::{self, Existing};
use crate::join::token::JoinToken;
use crate::join::{JoinRequest, Joined, join};
use crate::shutdown::{ShutdownTrigger, shutdown};
use crate::{Prepared, wiring};

/// Observes a KVM host and carries out what its Drover controller decides.
#[derive(Debug, Parser)]
#[command(name = "drover-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join this host to a cluster.
    Join(JoinArgs),
    /// Run the agent of a host that has joined.
    Run(ConfigArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Configuration file [default: /etc/drover/agent.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct JoinArgs {
    /// The controller's public address, e.g. https://10.0.0.10:7440
    #[arg(value_name = "URL")]
    controller: String,
    /// The one-time token that the controller made
    #[arg(long, env = "DROVER_JOIN_TOKEN", hide_env_values = true)]
    token: String,
    /// The host's name in the cluster [default: the name libvirt reports]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Also write libvirt's TLS files below DIR, unless some exist
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true,
          default_missing_value = libvirt_pki::DEFAULT_ROOT)]
    libvirt_pki: Option<PathBuf>,
    /// Replace libvirt's TLS files if they exist
    #[arg(long, requires = "libvirt_pki")]
    force: bool,
}

impl std::fmt::Debug for JoinArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinArgs").field("controller", &self.controller).finish_non_exhaustive()
    }
}

impl Cli {
    /// Does what was asked for.
    pub async fn carry_out(self) -> Result<()> {
        match self.command {
            Command::Join(args) => args.carry_out().await,
            Command::Run(args) => {
                let config = Config::load(args.config.as_deref())?;
                let prepared = Prepared::new(config.clone())?;
                let (trigger, wish) = shutdown();
                tokio::spawn(ask_on_signal(trigger));
                let hypervisor = wiring::hypervisor(&config);
                prepared.run(hypervisor, wiring::own_bmc(), wish).await
            }
        }
    }
}

impl JoinArgs {
    async fn carry_out(self) -> Result<()> {
        let config = Config::load(self.config.config.as_deref())?;
        let request = JoinRequest {
            controller_url: self.controller,
            token: JoinToken::parse(&self.token)?,
            name: self.name,
            libvirt_pki: self.libvirt_pki,
            existing: if self.force { Existing::Replace } else { Existing::Keep },
        };
        let hypervisor = wiring::hypervisor(&config);
        let joined = join(&request, &config, Arc::as_ref(&hypervisor)).await?;
        show(&joined);
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command was run for")]
fn show(joined: &Joined) {
    println!("joined as {} ({})", joined.card.host_name, joined.card.host_id);
    for path in &joined.written {
        println!("wrote {}", path.display());
    }
    for path in &joined.kept {
        println!("kept {}", path.display());
    }
    if !joined.kept.is_empty() {
        println!("no libvirt TLS file was written, since some exist; --force replaces them");
    }
    println!("start the agent: systemctl enable --now drover-agent");
}

async fn ask_on_signal(trigger: ShutdownTrigger) {
    let wait = async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok::<_, std::io::Error>(())
    };
    match wait.await.context("cannot wait for signals") {
        Ok(()) => trigger.ask(),
        // Nobody can ask any more; the trigger must live so that this is not taken for asking.
        Err(error) => {
            tracing::error!("{error:#}");
            std::future::pending::<()>().await;
        }
    }
}
