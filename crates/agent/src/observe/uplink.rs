//! Which interfaces and disks make up the host's own traffic, so that no byte is counted twice.

/// One network interface as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterfaceKind {
    /// A device of the machine is behind it.
    pub physical: bool,
    /// A bridge.
    pub bridge: bool,
    /// A tap: its traffic is a guest's.
    pub tap: bool,
    /// It stands on other interfaces (bond, VLAN, bridge, macvlan), which are counted.
    pub stacked: bool,
}

/// The interfaces to count: those with a device behind them; on a host without any (a
/// container, a namespace) all but loopback, taps, bridges and stacked ones.
pub fn uplinks<'a>(interfaces: &[(&'a str, InterfaceKind)]) -> Vec<&'a str> {
    let any_physical = interfaces.iter().any(|(_, kind)| kind.physical);
    interfaces
        .iter()
        .filter(|(name, kind)| {
            if any_physical {
                kind.physical
            } else {
                !(*name == "lo" || kind.bridge || kind.tap || kind.stacked)
            }
        })
        .map(|(name, _)| *name)
        .collect()
}

/// Whether a block device is counted: a whole one (`is_whole`) that does not stand on others.
pub fn is_counted_disk(name: &str, is_whole: bool) -> bool {
    const STACKED_OR_VIRTUAL: [&str; 7] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd"];
    is_whole && !STACKED_OR_VIRTUAL.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: InterfaceKind =
        InterfaceKind { physical: false, bridge: false, tap: false, stacked: false };

    #[test]
    fn every_byte_is_counted_once() {
        let physical = InterfaceKind { physical: true, ..PLAIN };
        let bridge = InterfaceKind { bridge: true, stacked: true, ..PLAIN };
        let tap = InterfaceKind { tap: true, ..PLAIN };
        let stacked = InterfaceKind { stacked: true, ..PLAIN };
        let machine = [
            ("lo", PLAIN),
            ("eth0", physical),
            ("eth1", physical),
            ("bond0", stacked),
            ("br0", bridge),
            ("vnet0", tap),
            ("veth1", PLAIN),
        ];
        assert_eq!(uplinks(&machine), ["eth0", "eth1"]);
        let namespace = [("lo", PLAIN), ("up", PLAIN), ("br0", bridge), ("vnet0", tap)];
        assert_eq!(uplinks(&namespace), ["up"]);
    }

    #[test]
    fn only_whole_real_disks_count() {
        for (name, whole, counted) in [
            ("vda", true, true),
            ("vda1", false, false),
            ("nvme0n1", true, true),
            ("dm-0", true, false),
            ("loop3", true, false),
            ("md127", true, false),
        ] {
            assert_eq!(is_counted_disk(name, whole), counted, "{name}");
        }
    }
}
