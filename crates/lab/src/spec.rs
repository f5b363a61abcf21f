//! What a lab is made of; kept in its directory, so that later commands know it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::release::{GuestMemory, Releases};
use crate::storage::{GuestStorage, Locks};

/// Most hosts: the addresses .1 to .50 of the management network.
pub const MAX_HOSTS: u8 = 50;
/// Most guests: the addresses .11 to .99 of the guest network; .100 is the controller.
pub const MAX_GUESTS: u8 = 89;

/// What a lab is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabSpec {
    /// First part of its namespaces' names.
    pub name: String,
    /// Everything that it keeps.
    pub dir: PathBuf,
    /// Where droverd, drover-agent, drover and drover-lab are.
    pub bin_dir: PathBuf,
    /// Number of hosts.
    pub hosts: u8,
    /// Number of guests.
    pub guests: u8,
    /// Cores that count as 100 % of a host.
    pub host_cores: f64,
    /// Memory budget of a host, MiB.
    pub host_memory_mib: u64,
    /// Memory of a guest, MiB.
    pub guest_memory_mib: u64,
    /// Agents sample so often, e.g. `2s`.
    pub sample_interval: String,
    /// Hypervisors and guests only.
    pub bare: bool,
    /// Which Debian releases its hosts run.
    #[serde(default)]
    pub releases: Releases,
    /// How its guests' memory is laid out.
    #[serde(default)]
    pub memory: GuestMemory,
    /// What the guests that come with the lab get.
    #[serde(default)]
    pub storage: GuestStorage,
    /// The lock daemon of every host.
    #[serde(default)]
    pub locks: Locks,
    /// Every host has a BMC, and a network card that magic packets wake.
    #[serde(default)]
    pub bmc: bool,
}

impl LabSpec {
    /// A lab with this name in this directory: three hosts and six guests.
    pub fn new(name: &str, dir: PathBuf, bin_dir: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            dir,
            bin_dir,
            hosts: 3,
            guests: 6,
            host_cores: 1.0,
            host_memory_mib: 2048,
            guest_memory_mib: 128,
            sample_interval: "2s".to_owned(),
            bare: false,
            releases: Releases::default(),
            memory: GuestMemory::default(),
            storage: GuestStorage::default(),
            locks: Locks::default(),
            bmc: false,
        }
    }

    /// Names of its hosts.
    pub fn host_names(&self) -> Vec<String> {
        (1..=self.hosts).map(|number| format!("h{number}")).collect()
    }

    /// Names of its guests.
    pub fn guest_names(&self) -> Vec<String> {
        (1..=self.guests).map(|number| format!("vm{number}")).collect()
    }

    /// What is wrong with it.
    pub fn check(&self) -> anyhow::Result<()> {
        let name_ok = (1..=8).contains(&self.name.len())
            && self.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        anyhow::ensure!(name_ok, "the lab's name must be 1 to 8 lower-case letters or digits");
        anyhow::ensure!((1..=MAX_HOSTS).contains(&self.hosts), "a lab has 1 to {MAX_HOSTS} hosts");
        anyhow::ensure!(self.guests <= MAX_GUESTS, "a lab has at most {MAX_GUESTS} guests");
        anyhow::ensure!(self.guest_memory_mib >= 96, "a guest needs at least 96 MiB to boot");
        Ok(())
    }
}
