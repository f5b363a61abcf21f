//! Who can send a host its magic packet: hosts that share an IPv4 network with it.

use std::net::Ipv4Addr;

use drover_model::{Host, HostId, HostNic, HostState, MacAddress};

use crate::records::{PowerSettings, Tables};

/// Neighbours that send at once: a packet may be lost on one way, and one of the senders may
/// be in the wrong VLAN after all.
const MOST_NEIGHBOURS: usize = 3;
/// Senders at once where no neighbour is known: every one of them floods its networks.
const MOST_SENDERS: usize = 16;

/// A host that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Which.
    pub host: HostId,
    /// From these interfaces; empty means from all.
    pub interfaces: Vec<String>,
}

/// How far the packets will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The senders share a network with the host.
    Neighbours,
    /// Nobody is known to: all send, and to the directed broadcast addresses that are set.
    Anybody,
}

/// Cards that wake a host: those that are set, else those that say that they do.
pub fn macs(settings: &PowerSettings, host: &Host) -> Vec<MacAddress> {
    if !settings.macs.is_empty() {
        return settings.macs.clone();
    }
    let nics = host.capabilities.nics.iter();
    let mut macs: Vec<MacAddress> =
        nics.filter(|nic| nic.wakes == Some(true)).map(|nic| nic.mac).collect();
    macs.dedup();
    macs
}

/// Who is to send to a host: online hosts that are connected, and how far that comes.
pub fn senders(
    tables: &Tables,
    host: HostId,
    is_connected: impl Fn(HostId) -> bool,
) -> (Vec<Sender>, Reach) {
    let others = || {
        let online = |host: &&Host| host.state == HostState::Online;
        let all = tables.hosts.iter().map(|record| &record.host).filter(online);
        all.filter(|other| other.id != host && is_connected(other.id))
    };
    let settings = tables.power.get(host).map(|record| record.settings.clone());
    let mut neighbours = Vec::new();
    if let Some(record) = tables.hosts.get(host) {
        let macs = macs(&settings.unwrap_or_default(), &record.host);
        let places = places(&record.host, &macs);
        for other in others() {
            let interfaces = shared(other, &places);
            if !interfaces.is_empty() && neighbours.len() < MOST_NEIGHBOURS {
                neighbours.push(Sender { host: other.id, interfaces });
            }
        }
    }
    if !neighbours.is_empty() {
        return (neighbours, Reach::Neighbours);
    }
    let anybody = others().map(|other| Sender { host: other.id, interfaces: Vec::new() });
    (anybody.take(MOST_SENDERS).collect(), Reach::Anybody)
}

/// The host's addresses behind the cards that wake it. A card in a bridge has none itself:
/// then all of the host's.
fn places(host: &Host, macs: &[MacAddress]) -> Vec<Ipv4Addr> {
    let of = |nics: &mut dyn Iterator<Item = &HostNic>| -> Vec<Ipv4Addr> {
        nics.flat_map(|nic| &nic.addresses).filter_map(|text| Some(network(text)?.0)).collect()
    };
    let nics = &host.capabilities.nics;
    let behind = of(&mut nics.iter().filter(|nic| macs.contains(&nic.mac)));
    if behind.is_empty() { of(&mut nics.iter()) } else { behind }
}

/// Interfaces of a host in whose networks one of these addresses lies. An address that both
/// have is one of a network inside each host, such as libvirt's `default`.
fn shared(host: &Host, places: &[Ipv4Addr]) -> Vec<String> {
    let is_shared = |text: &String| {
        let Some((own, mask)) = network(text) else { return false };
        let near =
            |place: &Ipv4Addr| *place != own && place.to_bits() & mask == own.to_bits() & mask;
        places.iter().any(near)
    };
    let nics = host.capabilities.nics.iter();
    nics.filter(|nic| nic.addresses.iter().any(is_shared)).map(|nic| nic.name.clone()).collect()
}

/// `10.0.0.5/24` as address and mask.
fn network(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    Some((address.parse().ok()?, mask))
}

#[cfg(test)]
mod tests {
    use drover_testkit::{host, host_id};

    use super::*;
    use crate::records::{HostRecord, Records, Txn};

    const CARD: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn nic(name: &str, addresses: &[&str], wakes: Option<bool>) -> HostNic {
        let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
        HostNic { name: name.to_owned(), mac: CARD, addresses, wakes }
    }

    async fn check(nics: &[&[HostNic]], expected: &[(u128, &[&str])], reach: Reach) {
        let store = std::sync::Arc::new(drover_ports::memory::MemoryStore::default());
        let records = Records::load(store).await.unwrap();
        for (n, nics) in (1..).zip(nics) {
            let mut of = host(n, 4.0, 8);
            of.capabilities.nics = nics.to_vec();
            let put = |_: &Tables| {
                let mut txn = Txn::none();
                txn.put(HostRecord { host: of, disturbed: None });
                (txn, ())
            };
            records.update(put).await.unwrap();
        }
        let (found, how_far) = senders(&records.read(), host_id(1), |_| true);
        let found: Vec<(HostId, Vec<String>)> =
            found.into_iter().map(|one| (one.host, one.interfaces)).collect();
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
        let expected: Vec<(HostId, Vec<String>)> =
            expected.iter().map(|(n, all)| (host_id(*n), names(all))).collect();
        assert_eq!((found, how_far), (expected, reach));
    }

    #[tokio::test]
    async fn a_neighbour_sends_from_the_interface_in_the_same_network() {
        let sleeper = [nic("eno1", &["10.1.0.1/24"], Some(true))];
        let near = [nic("eno1", &["10.9.0.2/24"], None), nic("vlan7", &["10.1.0.2/24"], None)];
        let far = [nic("eno1", &["10.2.0.3/24"], None)];
        check(&[&sleeper, &near, &far], &[(2, &["vlan7"])], Reach::Neighbours).await;
    }

    #[tokio::test]
    async fn a_network_inside_each_host_is_not_shared() {
        let inner = || nic("virbr0", &["192.168.122.1/24"], None);
        let sleeper = [inner(), nic("eno1", &["10.1.0.1/24"], None)];
        let far = [inner(), nic("eno1", &["10.2.0.1/24"], None)];
        check(&[&sleeper, &far], &[(2, &[])], Reach::Anybody).await;
    }

    #[tokio::test]
    async fn a_card_in_a_bridge_has_the_hosts_addresses() {
        let sleeper = [nic("eno1", &[], Some(true)), nic("br0", &["10.1.0.1/16"], None)];
        let near = [nic("br0", &["10.1.77.2/16"], None)];
        check(&[&sleeper, &near], &[(2, &["br0"])], Reach::Neighbours).await;
    }

    #[tokio::test]
    async fn where_nothing_is_known_everybody_sends() {
        check(&[&[], &[], &[]], &[(2, &[]), (3, &[])], Reach::Anybody).await;
    }
}
