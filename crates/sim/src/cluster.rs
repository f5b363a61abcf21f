//! The modelled cluster at its start: hosts, guests, and who is where.

use std::collections::{BTreeMap, BTreeSet};

use drover_model::{Bytes, GuestId, HostId, Mib, Name};

use crate::power::PowerCurve;

/// Named limits of a model.
pub mod limits {
    /// Most hosts: what one controller is built for.
    pub const MAX_HOSTS: usize = 2_000;
    /// Most guests: ten to a host.
    pub const MAX_GUESTS: usize = 20_000;
    /// Most cores of one host or guest.
    pub const MAX_CORES: f64 = 4_096.0;
    /// Most memory of one host or guest, MiB: 64 TiB.
    pub const MAX_MEMORY_MIB: u64 = 64 << 20;
    /// Longest name, bytes: what a file system allows.
    pub const MAX_NAME: usize = 255;
}

/// 10 Gbit/s less what TCP and QEMU's own frames take, bytes per second.
pub const DEFAULT_LINK: f64 = 1.15e9;

/// A modelled host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSpec {
    /// Id.
    pub id: HostId,
    /// Name.
    pub name: Name,
    /// Cores; what 100 % means.
    pub cores: f64,
    /// Memory that guests may use.
    pub memory: Bytes,
    /// Cores that the host itself keeps busy.
    pub overhead_cores: f64,
    /// Watts by load.
    pub power: PowerCurve,
    /// What its link carries for migrations, bytes per second each way.
    pub link: f64,
}

/// A modelled guest.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestSpec {
    /// Id.
    pub id: GuestId,
    /// Name, as the trace has it.
    pub name: Name,
    /// vCPUs: it never uses more cores.
    pub vcpus: u32,
    /// Memory it may grow to.
    pub memory: Mib,
    /// Where it is at the start.
    pub host: HostId,
}

/// Hosts and guests, each in the order of their ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    hosts: Vec<HostSpec>,
    guests: Vec<GuestSpec>,
}

/// What is wrong with a cluster.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClusterError {
    /// There is no host.
    #[error("there is no host")]
    Empty,
    /// More than a model may have.
    #[error("{count} {what} are more than {most}")]
    TooMany {
        /// `hosts` or `guests`.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A name or id is used twice.
    #[error("{what} `{name}` is there twice")]
    Twice {
        /// `host` or `guest`.
        what: &'static str,
        /// Its name.
        name: Name,
    },
    /// A guest is on no host.
    #[error("guest `{0}` is on a host that is not there")]
    Homeless(Name),
    /// A value is out of its range.
    #[error("{what} of `{name}` is out of range: {range}")]
    OutOfRange {
        /// Which value.
        what: &'static str,
        /// Of whom.
        name: Name,
        /// What is allowed.
        range: &'static str,
    },
}

impl Cluster {
    /// A cluster that is within its limits and fits together.
    pub fn new(mut hosts: Vec<HostSpec>, mut guests: Vec<GuestSpec>) -> Result<Self, ClusterError> {
        hosts.sort_by_key(|host| host.id);
        guests.sort_by_key(|guest| guest.id);
        if hosts.is_empty() {
            return Err(ClusterError::Empty);
        }
        for (what, count, most) in [
            ("hosts", hosts.len(), limits::MAX_HOSTS),
            ("guests", guests.len(), limits::MAX_GUESTS),
        ] {
            if count > most {
                return Err(ClusterError::TooMany { what, count, most });
            }
        }
        unique("host", hosts.iter().map(|host| (host.id.as_bytes(), &host.name)))?;
        unique("guest", guests.iter().map(|guest| (guest.id.as_bytes(), &guest.name)))?;
        hosts.iter().try_for_each(check_host)?;
        let known: BTreeSet<HostId> = hosts.iter().map(|host| host.id).collect();
        for guest in &guests {
            check_guest(guest)?;
            if !known.contains(&guest.host) {
                return Err(ClusterError::Homeless(guest.name.clone()));
            }
        }
        Ok(Self { hosts, guests })
    }

    /// The hosts.
    pub fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    /// The guests.
    pub fn guests(&self) -> &[GuestSpec] {
        &self.guests
    }

    /// The host with this name.
    pub fn host_named(&self, name: &str) -> Option<&HostSpec> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// The guest with this name.
    pub fn guest_named(&self, name: &str) -> Option<&GuestSpec> {
        self.guests.iter().find(|guest| guest.name == name)
    }

    /// The same with this curve for hosts that have the default one.
    #[must_use]
    pub fn with_default_power(mut self, power: PowerCurve) -> Self {
        let unknown = |host: &&mut HostSpec| host.power == PowerCurve::default();
        self.hosts.iter_mut().filter(unknown).for_each(|host| host.power = power);
        self
    }

    /// vCPUs by guest name.
    pub fn vcpus(&self) -> BTreeMap<Name, u32> {
        self.guests.iter().map(|guest| (guest.name.clone(), guest.vcpus)).collect()
    }
}

fn unique<'a>(
    what: &'static str,
    all: impl Iterator<Item = (&'a [u8; 16], &'a Name)>,
) -> Result<(), ClusterError> {
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (id, name) in all {
        if !ids.insert(id) || !names.insert(name) {
            return Err(ClusterError::Twice { what, name: name.clone() });
        }
    }
    Ok(())
}

fn check_host(host: &HostSpec) -> Result<(), ClusterError> {
    let cores = host.cores > 0.0 && host.cores <= limits::MAX_CORES;
    let overhead = (0.0..=host.cores).contains(&host.overhead_cores);
    let link = host.link > 0.0 && host.link.is_finite();
    for (fits, what, range) in [
        (is_name(&host.name), "the name", NAME),
        (cores, "the number of cores", "more than 0, at most 4096"),
        (is_memory(host.memory.mib().0), "the memory", MEMORY),
        (overhead, "the host's own CPU use", "0 to its cores"),
        (link, "the link", "more than 0 bytes per second"),
    ] {
        if !fits {
            return Err(ClusterError::OutOfRange { what, name: host.name.clone(), range });
        }
    }
    Ok(())
}

fn check_guest(guest: &GuestSpec) -> Result<(), ClusterError> {
    let vcpus = guest.vcpus > 0 && f64::from(guest.vcpus) <= limits::MAX_CORES;
    for (fits, what, range) in [
        (is_name(&guest.name), "the name", NAME),
        (vcpus, "the number of vCPUs", "1 to 4096"),
        (is_memory(guest.memory.0), "the memory", MEMORY),
    ] {
        if !fits {
            return Err(ClusterError::OutOfRange { what, name: guest.name.clone(), range });
        }
    }
    Ok(())
}

const NAME: &str = "1 to 255 bytes, no control characters";
const MEMORY: &str = "1 MiB to 64 TiB";

fn is_memory(mib: u64) -> bool {
    (1..=limits::MAX_MEMORY_MIB).contains(&mib)
}

/// Whether a text may name a host or a guest.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=limits::MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}
