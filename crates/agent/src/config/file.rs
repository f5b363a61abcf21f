//! The configuration as it is written, before it is checked.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use drover_model::{Bytes, Cores, parse_bytes, parse_duration};
use serde::{Deserialize, Deserializer, de};

use super::power::PowerFile;
use super::{Accounting, Budget, Config, ConfigError, MAX_SAMPLE_INTERVAL, MIN_SAMPLE_INTERVAL};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigFile {
    state_dir: PathBuf,
    libvirt_uri: String,
    #[serde(deserialize_with = "duration")]
    sample_interval: Option<Duration>,
    migration_address: Option<String>,
    peer_uri: Option<String>,
    shared_paths: Vec<String>,
    accounting: AccountingFile,
    power: PowerFile,
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/drover-agent".into(),
            libvirt_uri: "qemu:///system".to_owned(),
            sample_interval: None,
            migration_address: None,
            peer_uri: None,
            shared_paths: Vec::new(),
            accounting: AccountingFile::default(),
            power: PowerFile::default(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct AccountingFile {
    mode: Mode,
    cores: Option<f64>,
    #[serde(deserialize_with = "bytes")]
    memory: Option<Bytes>,
    cgroup: Option<PathBuf>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Host,
    Processes,
    Cgroup,
}

impl ConfigFile {
    pub(super) fn check(self) -> Result<Config, ConfigError> {
        if !self.state_dir.is_absolute() {
            return Err(value("state_dir", "must be an absolute path"));
        }
        if let Some(interval) = self.sample_interval
            && !(MIN_SAMPLE_INTERVAL..=MAX_SAMPLE_INTERVAL).contains(&interval)
        {
            let reason = format!("must be {MIN_SAMPLE_INTERVAL:?} to {MAX_SAMPLE_INTERVAL:?}");
            return Err(value("sample_interval", reason));
        }
        if let Some(bad) = self.shared_paths.iter().find(|path| !is_plain_absolute(path)) {
            let reason = format!("`{bad}` must be an absolute path below / without `..`");
            return Err(value("shared_paths", reason));
        }
        Ok(Config {
            state_dir: self.state_dir,
            libvirt_uri: self.libvirt_uri,
            sample_interval: self.sample_interval,
            migration_address: self.migration_address,
            peer_uri: self.peer_uri,
            shared_paths: self.shared_paths,
            accounting: self.accounting.check()?,
            power: self.power.check()?,
        })
    }
}

impl AccountingFile {
    fn check(self) -> Result<Accounting, ConfigError> {
        if self.cgroup.is_some() && self.mode != Mode::Cgroup {
            return Err(value("accounting.cgroup", "is only for mode = \"cgroup\""));
        }
        match self.mode {
            Mode::Host if self.cores.is_some() => {
                Err(value("accounting.cores", "a whole host has no budget; see accounting.mode"))
            }
            Mode::Host if self.memory.is_some() => {
                Err(value("accounting.memory", "a whole host has no budget; see accounting.mode"))
            }
            Mode::Host => Ok(Accounting::Host),
            Mode::Processes => Ok(Accounting::Processes(self.budget()?)),
            Mode::Cgroup => {
                let budget = self.budget()?;
                let path = self
                    .cgroup
                    .filter(|path| path.is_absolute())
                    .ok_or_else(|| value("accounting.cgroup", "name the group's directory"))?;
                Ok(Accounting::Cgroup { path, budget })
            }
        }
    }

    fn budget(&self) -> Result<Budget, ConfigError> {
        let cores = self
            .cores
            .filter(|cores| *cores > 0.0 && cores.is_finite())
            .ok_or_else(|| value("accounting.cores", "say how many cores, more than 0"))?;
        let memory = self
            .memory
            .filter(|memory| memory.0 > 0)
            .ok_or_else(|| value("accounting.memory", "say how much memory, e.g. \"2GiB\""))?;
        Ok(Budget { cores: Cores(cores), memory })
    }
}

pub(super) fn value(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, reason: reason.into() }
}

fn is_plain_absolute(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map(Some).map_err(de::Error::custom)
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bytes>, D::Error> {
    let text = String::deserialize(from)?;
    parse_bytes(&text).map(Some).map_err(de::Error::custom)
}
