//! Where a guest's tap is plugged in, as the kernel tells below `/sys/class/net`.

use std::fs;
use std::path::{Path, PathBuf};

use super::mac::Mac;

/// Where the kernel describes interfaces.
const INTERFACES: &str = "/sys/class/net";

/// A port of a bridge that the agent can speak on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The guest's interface on the host.
    pub tap: String,
    /// The bridge.
    pub bridge: String,
    /// The bridge's own address.
    pub bridge_mac: Mac,
}

/// Why the agent cannot speak for a guest there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unspeakable {
    /// Open vSwitch, macvtap, a user-mode network, …
    #[error("{0} is no port of a Linux bridge")]
    NotOnABridge(String),
    /// An untagged frame of the bridge itself would go to another VLAN than the guest's.
    #[error("bridge {0} filters VLANs")]
    FiltersVlans(String),
    /// Its address cannot be read.
    #[error("bridge {0} has no address")]
    NoAddress(String),
}

/// The port of a tap.
pub fn port(tap: &str) -> Result<Port, Unspeakable> {
    port_below(Path::new(INTERFACES), tap)
}

fn port_below(interfaces: &Path, tap: &str) -> Result<Port, Unspeakable> {
    let nowhere = || Unspeakable::NotOnABridge(tap.to_owned());
    if tap.is_empty() || tap.contains('/') {
        return Err(nowhere());
    }
    let master: PathBuf =
        fs::read_link(interfaces.join(tap).join("master")).map_err(|_| nowhere())?;
    let bridge = master.file_name().and_then(|name| name.to_str()).ok_or_else(nowhere)?.to_owned();
    let at = interfaces.join(&bridge);
    // Open vSwitch has masters too, and they are no bridges to the kernel.
    if !at.join("bridge").is_dir() {
        return Err(nowhere());
    }
    // A kernel that cannot filter VLANs has no such file.
    let filtering = fs::read_to_string(at.join("bridge/vlan_filtering"));
    if filtering.is_ok_and(|filtering| filtering.trim() != "0") {
        return Err(Unspeakable::FiltersVlans(bridge));
    }
    let address = fs::read_to_string(at.join("address")).unwrap_or_default();
    match address.parse() {
        Ok(bridge_mac) => Ok(Port { tap: tap.to_owned(), bridge, bridge_mac }),
        Err(_) => Err(Unspeakable::NoAddress(bridge)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_plain_bridge_is_spoken_on() {
        let sys = tempfile::tempdir().unwrap();
        let at = |path: &str| sys.path().join(path);
        for (bridge, filtering) in [("br0", "0\n"), ("br1", "1\n")] {
            fs::create_dir_all(at(bridge).join("bridge")).unwrap();
            fs::write(at(bridge).join("bridge/vlan_filtering"), filtering).unwrap();
            fs::write(at(bridge).join("address"), "02:00:00:00:00:01\n").unwrap();
        }
        fs::create_dir_all(at("ovs-system")).unwrap();
        fs::create_dir_all(at("br2/bridge")).unwrap();
        fs::write(at("br2/address"), "02:00:00:00:00:02\n").unwrap();
        for (tap, master) in
            [("vnet0", "br0"), ("vnet1", "br1"), ("vnet2", "ovs-system"), ("vnet3", "br2")]
        {
            fs::create_dir_all(at(tap)).unwrap();
            symlink(format!("../{master}"), at(tap).join("master")).unwrap();
        }
        fs::create_dir_all(at("macvtap0")).unwrap();
        let port = |tap| port_below(sys.path(), tap);
        let expected = Port {
            tap: "vnet0".to_owned(),
            bridge: "br0".to_owned(),
            bridge_mac: Mac([2, 0, 0, 0, 0, 1]),
        };
        assert_eq!(port("vnet0"), Ok(expected));
        assert_eq!(port("vnet1"), Err(Unspeakable::FiltersVlans("br1".to_owned())));
        assert_eq!(port("vnet3").map(|port| port.bridge), Ok("br2".to_owned()));
        for tap in ["vnet2", "macvtap0", "vnet9", "", "../vnet0"] {
            assert_eq!(port(tap), Err(Unspeakable::NotOnABridge(tap.to_owned())));
        }
    }
}
