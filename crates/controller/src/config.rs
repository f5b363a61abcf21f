//! What droverd is told at start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use drover_model::parse_duration;

/// The Drover controller.
#[derive(Debug, Clone, Parser)]
#[command(name = "droverd", version, about = "The Drover controller", max_term_width = 100)]
pub struct Config {
    /// Directory for the database, the certificate authority and admin.toml.
    #[arg(long, default_value = "/var/lib/drover", env = "DROVERD_STATE_DIR")]
    pub state_dir: PathBuf,
    /// Address of the public API (HTTPS).
    #[arg(long, default_value = "0.0.0.0:7440", env = "DROVERD_API_LISTEN")]
    pub api_listen: SocketAddr,
    /// Address that agents dial (gRPC, mutual TLS).
    #[arg(long, default_value = "0.0.0.0:7441", env = "DROVERD_AGENT_LISTEN")]
    pub agent_listen: SocketAddr,
    /// Name or IP address by which hosts and users reach this controller; repeatable. The
    /// first goes into join commands and admin.toml.
    #[arg(long, default_value = "localhost", env = "DROVERD_ADVERTISE", value_delimiter = ',')]
    pub advertise: Vec<String>,
    /// How often agents sample.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub sample_interval: Duration,
    /// How often rules are evaluated.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub evaluation_interval: Duration,
    /// A host whose agent is silent for so long counts as unreachable.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub unreachable_after: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).map_err(|error| error.to_string())?;
    if span < Duration::from_millis(500) || span > Duration::from_secs(3600) {
        return Err("must be 500 ms to 1 h".to_owned());
    }
    Ok(span)
}

impl Config {
    /// The URL of the public API, as users write it.
    pub fn api_url(&self) -> String {
        format!("https://{}:{}", bracketed(self.name()), self.api_listen.port())
    }

    /// The URL that agents dial.
    pub fn agent_url(&self) -> String {
        format!("https://{}:{}", bracketed(self.name()), self.agent_listen.port())
    }

    fn name(&self) -> &str {
        self.advertise.first().map_or("localhost", String::as_str)
    }
}

fn bracketed(name: &str) -> String {
    if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
}
