//! Network cards by which the host can be woken and can wake others.
//!
//! A magic packet names the address of a card, but is sent on a network, and the host's
//! address there is often that of a bridge, bond or VLAN above the card. So what is told is
//! the interface with the address, and the hardware address of each card below it: systemd
//! gives bridges addresses of their own, and a bond's cards all show one.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use drover_model::{HostNic, MacAddress};
use nix::ifaddrs::getifaddrs;

/// Where the kernel describes interfaces.
pub const INTERFACES: &str = "/sys/class/net";

/// How deep interfaces may stand on each other: a bridge on a VLAN on a bond on a card.
const MAX_DEPTH: usize = 4;

/// More cards are not told: above any server, and a bound on the message.
const MAX_NICS: usize = 64;

/// `ARPHRD_ETHER` (linux/if_arp.h).
const ETHERNET: &str = "1";

/// An IPv4 address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4Interface {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u32,
    /// What reaches everybody on the network; none where there is nobody else, as on a /32.
    pub broadcast: Option<Ipv4Addr>,
}

/// IPv4 addresses of this network namespace, in the kernel's order.
pub fn ipv4_interfaces() -> io::Result<Vec<Ipv4Interface>> {
    let found = getifaddrs()?.filter_map(|entry| {
        let address = entry.address.as_ref()?.as_sockaddr_in()?.ip();
        let mask = entry.netmask.as_ref()?.as_sockaddr_in()?.ip();
        Some(Ipv4Interface::new(entry.interface_name, address, mask))
    });
    Ok(found.collect())
}

impl Ipv4Interface {
    fn new(interface: String, address: Ipv4Addr, mask: Ipv4Addr) -> Self {
        let prefix = mask.to_bits().leading_ones();
        // RFC 3021: a /31 has two hosts and no broadcast.
        let has_others = prefix < 31;
        let broadcast = Ipv4Addr::from_bits(address.to_bits() | !mask.to_bits());
        Self { interface, address, prefix, broadcast: has_others.then_some(broadcast) }
    }
}

/// The cards of this network namespace that have IPv4 addresses, or whose bridge or VLAN has.
pub fn nics() -> Vec<HostNic> {
    below(Path::new(INTERFACES), &ipv4_interfaces().unwrap_or_default())
}

fn below(interfaces: &Path, addresses: &[Ipv4Interface]) -> Vec<HostNic> {
    let mut names: Vec<&str> = addresses.iter().map(|one| one.interface.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let any_physical = super::power::entries(interfaces)
        .iter()
        .any(|name| interfaces.join(name).join("device").exists());
    let of_name = |name: &str| {
        let own = addresses.iter().filter(|one| one.interface == name);
        let addresses: Vec<String> =
            own.map(|one| format!("{}/{}", one.address, one.prefix)).collect();
        let cards = cards(interfaces, name, any_physical, 0);
        let nics = cards.into_iter().filter_map(|card| {
            let mac = hardware_address(&interfaces.join(&card))?;
            let wakes = wakes(&interfaces.join(&card));
            Some(HostNic { name: name.to_owned(), mac, addresses: addresses.clone(), wakes })
        });
        nics.collect::<Vec<HostNic>>()
    };
    names.into_iter().flat_map(of_name).take(MAX_NICS).collect()
}

/// The cards on which an interface stands, itself if it stands on nothing. On a host without
/// any physical card, a container or a namespace, plain virtual ones are taken for such.
fn cards(interfaces: &Path, name: &str, any_physical: bool, depth: usize) -> Vec<String> {
    let directory = interfaces.join(name);
    let has = |part: &str| directory.join(part).exists();
    let is_ethernet = super::power::text(&directory.join("type")).as_deref() == Some(ETHERNET);
    if name == "lo" || has("tun_flags") || !is_ethernet || depth > MAX_DEPTH {
        return Vec::new();
    }
    let entries = super::power::entries(&directory);
    let lower: Vec<&str> =
        entries.iter().filter_map(|entry| entry.strip_prefix("lower_")).collect();
    if !lower.is_empty() {
        let below =
            lower.iter().flat_map(|lower| cards(interfaces, lower, any_physical, depth + 1));
        return below.collect();
    }
    let is_card = if any_physical { has("device") } else { !has("bridge") };
    if is_card { vec![name.to_owned()] } else { Vec::new() }
}

/// The card's own address; in a bond its present one is the bond's.
fn hardware_address(card: &Path) -> Option<MacAddress> {
    let own = super::power::text(&card.join("bonding_slave/perm_hwaddr"));
    own.or_else(|| super::power::text(&card.join("address")))?.parse().ok()
}

/// Whether the driver has armed the card to wake the machine, as `ethtool -s … wol g` makes it
/// do. The kernel's flag does not say by which packets: a card that wakes by any wakes by the
/// magic one in all drivers' defaults.
fn wakes(card: &Path) -> Option<bool> {
    match super::power::text(&card.join("device/power/wakeup"))?.as_str() {
        "enabled" => Some(true),
        "disabled" => Some(false),
        // A device that cannot.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(root: &Path, name: &str, mac: &str, files: &[(&str, &str)]) {
        let plain = [("type", "1"), ("address", mac)];
        for (file, text) in plain.iter().chain(files) {
            let path = root.join(name).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        }
    }

    fn address(interface: &str, address: [u8; 4], mask: [u8; 4]) -> Ipv4Interface {
        Ipv4Interface::new(interface.to_owned(), address.into(), mask.into())
    }

    const NET: [u8; 4] = [255, 255, 255, 0];

    fn shown(nics: &[HostNic]) -> Vec<String> {
        let one = |nic: &HostNic| {
            format!("{} {} {} {:?}", nic.name, nic.mac, nic.addresses.join(","), nic.wakes)
        };
        nics.iter().map(one).collect()
    }

    #[test]
    fn the_card_below_is_told_with_the_address_above() {
        let sys = tempfile::tempdir().unwrap();
        let root = sys.path();
        interface(root, "eth0", "02:00:00:00:00:01", &[("device/power/wakeup", "enabled")]);
        interface(root, "br0", "02:00:00:00:00:99", &[("lower_eth0", ""), ("lower_vnet0", "")]);
        interface(root, "vnet0", "fe:00:00:00:00:01", &[("tun_flags", "0x1002")]);
        interface(root, "eth1", "02:00:00:00:00:02", &[("device/power/wakeup", "disabled")]);
        interface(root, "eth1.7", "02:00:00:00:00:02", &[("lower_eth1", "")]);
        for (card, own) in [("eth2", "02:00:00:00:00:03"), ("eth3", "02:00:00:00:00:04")] {
            let bonded = [("bonding_slave/perm_hwaddr", own), ("device/power/wakeup", "")];
            interface(root, card, "02:00:00:00:00:03", &bonded);
        }
        interface(root, "bond0", "02:00:00:00:00:03", &[("lower_eth2", ""), ("lower_eth3", "")]);
        interface(root, "virbr0", "02:00:00:00:00:98", &[("bridge/x", ""), ("lower_vnet1", "")]);
        interface(root, "vnet1", "fe:00:00:00:00:02", &[("tun_flags", "0x1002")]);
        interface(root, "veth0", "02:00:00:00:00:97", &[]);
        interface(root, "lo", "00:00:00:00:00:00", &[("type", "772")]);
        interface(root, "wg0", "", &[("type", "65534")]);
        interface(root, "eth4", "02:00:00:00:00:05", &[("device/x", "")]);
        let addresses = [
            address("lo", [127, 0, 0, 1], [255, 0, 0, 0]),
            address("br0", [10, 0, 0, 5], NET),
            address("eth1", [10, 1, 0, 5], NET),
            address("eth1.7", [10, 7, 0, 5], NET),
            address("bond0", [10, 2, 0, 5], [255, 255, 0, 0]),
            address("br0", [10, 0, 0, 6], NET),
            address("virbr0", [192, 168, 122, 1], NET),
            address("veth0", [172, 17, 0, 1], NET),
            address("wg0", [10, 9, 0, 1], NET),
        ];
        let expected = [
            "bond0 02:00:00:00:00:03 10.2.0.5/16 None",
            "bond0 02:00:00:00:00:04 10.2.0.5/16 None",
            "br0 02:00:00:00:00:01 10.0.0.5/24,10.0.0.6/24 Some(true)",
            "eth1 02:00:00:00:00:02 10.1.0.5/24 Some(false)",
            "eth1.7 02:00:00:00:00:02 10.7.0.5/24 Some(false)",
        ];
        assert_eq!(shown(&below(root, &addresses)), expected);
    }

    #[test]
    fn a_namespace_has_virtual_cards() {
        let sys = tempfile::tempdir().unwrap();
        interface(sys.path(), "mgmt0", "02:00:00:00:00:01", &[]);
        interface(sys.path(), "vnet0", "fe:00:00:00:00:01", &[("tun_flags", "0x1002")]);
        let addresses =
            [address("mgmt0", [10, 77, 0, 1], NET), address("vnet0", [10, 88, 0, 1], NET)];
        let found = below(sys.path(), &addresses);
        assert_eq!(shown(&found), ["mgmt0 02:00:00:00:00:01 10.77.0.1/24 None"]);
        assert_eq!(below(Path::new("/no/such"), &addresses), []);
    }

    #[test]
    fn a_network_has_a_broadcast_unless_it_is_too_small() {
        for (mask, broadcast) in [
            (NET, Some([10, 0, 5, 255])),
            ([255, 255, 240, 0], Some([10, 0, 15, 255])),
            ([255, 255, 255, 254], None),
            ([255, 255, 255, 255], None),
        ] {
            let found = address("eth0", [10, 0, 5, 9], mask).broadcast;
            assert_eq!(found, broadcast.map(Ipv4Addr::from), "{mask:?}");
        }
    }
}
