//! `drover-agent`: see the library of the same name.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use drover_agent::cli::Cli;
use tracing_subscriber::EnvFilter;

/// The agent shares its host with guests; two threads keep one free while the other is busy.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of the program")]
            {
                eprintln!("drover-agent: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    // One provider for the whole process, named here: dependencies must not choose another.
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let outcome = runtime.block_on(cli.carry_out());
    // A thread may be inside libvirt for as long as a migration runs; libvirt goes on by itself.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}
