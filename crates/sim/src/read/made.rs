//! A cluster for a trace that comes without one.

use drover_model::{Bytes, GuestId, HostId, Mib, Name};

use crate::cluster::{Cluster, ClusterError, DEFAULT_LINK, GuestSpec, HostSpec};
use crate::power::PowerCurve;

/// vCPUs of a made guest.
const VCPUS: u32 = 2;
/// Memory of a made guest.
const MEMORY: Mib = Mib(2048);
/// Cores of a made host.
const CORES: u32 = 16;
/// Memory of a made host.
const HOST_MEMORY: Bytes = Bytes(64 << 30);
/// vCPUs that share a core: twice as many vCPUs as cores are common, and 16 guests of
/// 2 GiB leave half of the memory free.
const VCPUS_PER_CORE: u32 = 2;

/// Guests of 2 vCPUs and 2 GiB on as many hosts of 16 cores and 64 GiB as make two vCPUs a
/// core, but two at least; guests are given to the hosts in turn, in the order of names.
pub fn made_cluster<'a>(guests: impl Iterator<Item = &'a Name>) -> Result<Cluster, ClusterError> {
    let names: Vec<&Name> = guests.collect();
    let per_host = (CORES * VCPUS_PER_CORE / VCPUS) as usize;
    let count = names.len().div_ceil(per_host).max(2);
    let id = |number: usize| HostId::from_u128(number as u128 + 1);
    let hosts = (0..count).map(|number| HostSpec {
        id: id(number),
        name: format!("h{}", number + 1),
        cores: f64::from(CORES),
        memory: HOST_MEMORY,
        overhead_cores: 0.0,
        power: PowerCurve::default(),
        link: DEFAULT_LINK,
    });
    let guests = names.into_iter().enumerate().map(|(number, name)| GuestSpec {
        id: GuestId::from_u128(number as u128 + 1),
        name: name.clone(),
        vcpus: VCPUS,
        memory: MEMORY,
        host: id(number % count),
    });
    Cluster::new(hosts.collect(), guests.collect())
}
