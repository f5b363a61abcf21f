//! The agent's configuration: one TOML file, every key optional.
//!
//! `packaging/agent.toml` documents every key.

mod file;
mod power;

use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_model::{Bytes, Cores};

use file::ConfigFile;
pub use power::PowerConfig;

/// Where the configuration is looked for when no file is named.
pub const DEFAULT_PATH: &str = "/etc/drover/agent.toml";

/// Sampling more often than this costs more than it tells.
pub const MIN_SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// Sampling less often than this leaves rules blind.
pub const MAX_SAMPLE_INTERVAL: Duration = Duration::from_secs(300);

/// What the agent is told by its host's administrator.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where certificate and epochs are kept.
    pub state_dir: PathBuf,
    /// libvirt connection URI.
    pub libvirt_uri: String,
    /// How often to measure; none leaves it to the controller.
    pub sample_interval: Option<Duration>,
    /// Where other hosts' QEMU sends migration data; none means: find out.
    pub migration_address: Option<String>,
    /// How other hosts' libvirtd reaches this one's; none derives it from the address.
    pub peer_uri: Option<String>,
    /// Directories that are the same on all hosts.
    pub shared_paths: Vec<String>,
    /// What counts as load.
    pub accounting: Accounting,
    /// Who measures power, and what switches the host off.
    pub power: PowerConfig,
}

/// What counts as this host's load.
#[derive(Debug, Clone, PartialEq)]
pub enum Accounting {
    /// The whole machine.
    Host,
    /// All processes of the agent's PID namespace, the agent's own among them.
    Processes(Budget),
    /// One control group.
    Cgroup {
        /// Its directory.
        path: PathBuf,
        /// What it may use.
        budget: Budget,
    },
}

/// What 100 % means where the host is less than the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Processor cores.
    pub cores: Cores,
    /// Memory.
    pub memory: Bytes,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, has an unknown key, or a value of the wrong type.
    #[error("the configuration is wrong: {0}")]
    Syntax(String),
    /// A value is out of its range, or keys do not fit together.
    #[error("the configuration is wrong: {key}: {reason}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Config {
    /// Reads `path`; without one, the default file, or the defaults when there is none.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text),
            Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Self::parse("")
            }
            Err(source) => Err(ConfigError::Unreadable { path: file.to_owned(), source }),
        }
    }

    /// Reads a configuration text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: ConfigFile =
            toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        file.check()
    }
}

impl Accounting {
    /// What the host may use, unless it is the whole machine.
    pub const fn budget(&self) -> Option<Budget> {
        match self {
            Self::Host => None,
            Self::Processes(budget) | Self::Cgroup { budget, .. } => Some(*budget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.state_dir, Path::new("/var/lib/drover-agent"));
        assert_eq!(config.libvirt_uri, "qemu:///system");
        assert_eq!(config.sample_interval, None);
        assert_eq!(config.accounting, Accounting::Host);
    }

    #[test]
    fn the_documented_file_says_the_defaults_and_names_every_key() {
        let documented = include_str!("../../packaging/agent.toml");
        assert_eq!(Config::parse(documented).unwrap(), Config::parse("").unwrap());
        let example: String = documented
            .lines()
            .map(|line| {
                let key = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
                format!("{}\n", key.unwrap_or(line))
            })
            .collect();
        let example = example.replace("mode = \"host\"", "mode = \"cgroup\"");
        let config = Config::parse(&example).unwrap();
        assert_eq!(config.peer_uri.as_deref(), Some("qemu+tls://10.77.0.1/system"));
        assert!(matches!(config.accounting, Accounting::Cgroup { .. }));
    }

    #[test]
    fn every_key_is_read() {
        let config = Config::parse(
            r#"
            state_dir = "/tmp/a"
            libvirt_uri = "qemu:///session"
            sample_interval = "1500ms"
            migration_address = "10.77.0.1"
            peer_uri = "qemu+tcp://10.77.0.1/system"
            shared_paths = ["/srv/shared", "/mnt/nfs"]
            [accounting]
            mode = "cgroup"
            cores = 1.5
            memory = "2GiB"
            cgroup = "/sys/fs/cgroup/x"
            "#,
        )
        .unwrap();
        assert_eq!(config.sample_interval, Some(Duration::from_millis(1500)));
        assert_eq!(config.shared_paths.len(), 2);
        assert_eq!(
            config.accounting,
            Accounting::Cgroup {
                path: "/sys/fs/cgroup/x".into(),
                budget: Budget { cores: Cores(1.5), memory: Bytes(2 << 30) },
            }
        );
    }

    #[test]
    fn the_message_of_a_refusal_names_the_key() {
        for (text, part) in [
            ("stat_dir = \"/x\"", "unknown field `stat_dir`"),
            ("sample_interval = \"5 parsecs\"", "parsecs"),
            ("sample_interval = \"1ms\"", "sample_interval"),
            ("state_dir = \"relative\"", "state_dir"),
            ("shared_paths = [\"/srv/../etc\"]", "shared_paths"),
            ("shared_paths = [\"/\"]", "shared_paths"),
            ("[accounting]\nmode = \"guess\"", "guess"),
            ("[accounting]\nmode = \"processes\"", "accounting.cores"),
            ("[accounting]\nmode = \"processes\"\ncores = 1.0", "accounting.memory"),
            (
                "[accounting]\nmode = \"processes\"\ncores = -1.0\nmemory = \"1GiB\"",
                "accounting.cores",
            ),
            (
                "[accounting]\nmode = \"cgroup\"\ncores = 1.0\nmemory = \"1GiB\"",
                "accounting.cgroup",
            ),
            ("[accounting]\ncores = 1.0", "accounting.cores"),
        ] {
            let message = error(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
