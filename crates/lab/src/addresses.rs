//! The address plan: pure.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One of the lab's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Agents, libvirt and migration data.
    Management,
    /// Hosts and the storage server.
    Storage,
    /// Guests.
    Guest,
}

impl Network {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Management, Self::Storage, Self::Guest];

    /// Bridge in the switch namespace.
    pub const fn bridge(self) -> &'static str {
        match self {
            Self::Management => "brmgmt",
            Self::Storage => "brstor",
            Self::Guest => "brvm",
        }
    }

    /// Interface inside a host.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Management => "mgmt0",
            Self::Storage => "stor0",
            Self::Guest => "up0",
        }
    }

    /// Letter that ends the switch port's name.
    pub const fn letter(self) -> char {
        match self {
            Self::Management => 'm',
            Self::Storage => 's',
            Self::Guest => 'v',
        }
    }

    /// Address of member `number`, with its prefix length.
    pub fn address(self, number: u8) -> String {
        let net = match self {
            Self::Management => "10.77.0",
            Self::Storage => "10.99.0",
            Self::Guest => "10.88.0",
        };
        format!("{net}.{number}")
    }
}

/// Number of the controller on every network.
pub const CONTROLLER: u8 = 100;
/// Number of the storage server; it is a member of the storage network only.
pub const STORAGE_SERVER: u8 = 101;
/// Number of the BMCs' own namespace; a host's BMC has this and the host's number.
pub const BMCS: u8 = 200;

/// The number in `h3` or `vm12`.
pub fn number_of(name: &str) -> Option<u8> {
    name.trim_start_matches(|c: char| c.is_ascii_lowercase()).parse().ok()
}

/// Management address of a host, e.g. `10.77.0.1`.
pub fn host_address(host: &str) -> Option<String> {
    number_of(host).map(|number| Network::Management.address(number))
}

/// Address of a guest, e.g. `10.88.0.11` for `vm1`.
pub fn guest_address(guest: &str) -> Option<String> {
    number_of(guest)?.checked_add(10).map(|number| Network::Guest.address(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_names() {
        assert_eq!(host_address("h3").as_deref(), Some("10.77.0.3"));
        assert_eq!(guest_address("vm1").as_deref(), Some("10.88.0.11"));
        assert_eq!(guest_address("vm").as_deref(), None);
    }
}
