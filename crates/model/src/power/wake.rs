//! What wakes a machine that is off.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

/// Not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no MAC address: write six pairs of hex digits, as in 52:54:00:12:34:56")]
pub struct MacError(pub String);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        octets(text).map(Self).ok_or_else(|| MacError(text.to_owned()))
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

/// Pairs of hex digits between `:` or `-`.
fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    let mut parts = text.split([':', '-']);
    for octet in &mut octets {
        let part = parts.next()?;
        let is_pair = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        *octet = is_pair.then(|| u8::from_str_radix(part, 16).ok()).flatten()?;
    }
    parts.next().is_none().then_some(octets)
}

/// The password that some network cards ask for: 4 or 6 bytes. It goes over the wire in clear,
/// but is kept like every other secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecureOn(Vec<u8>);

impl fmt::Debug for SecureOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureOn(…)")
    }
}

impl SecureOn {
    /// From 6 pairs of hex digits, as `ethtool sopass` writes it, or from 4 numbers with dots
    /// or pairs of hex digits; none where it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(six) = octets::<6>(text) {
            return Some(Self(six.to_vec()));
        }
        let four = octets::<4>(text).map(Vec::from);
        four.or_else(|| Some(text.parse::<std::net::Ipv4Addr>().ok()?.octets().to_vec())).map(Self)
    }

    /// The bytes that end the packet.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// AMD's magic packet (publication 20213): six times 0xFF, sixteen times the address, and the
/// password where there is one: 102, 106 or 108 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MagicPacket {
    /// The card to wake.
    pub mac: MacAddress,
    /// Its password.
    pub secure_on: Option<SecureOn>,
}

impl MagicPacket {
    /// What is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0xff; 6];
        bytes.extend(self.mac.0.repeat(16));
        bytes.extend(self.secure_on.iter().flat_map(|password| password.0.iter()));
        bytes
    }
}

/// A way to switch a host on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeMethod {
    /// By its BMC: the word of the BMC says whether it worked.
    Bmc,
    /// A magic packet, sent by agents that share a network with it.
    WakeOnLan,
}

impl WakeMethod {
    /// The word users see and write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bmc => "bmc",
            Self::WakeOnLan => "wake_on_lan",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magic_packet_is_as_published() {
        let mac: MacAddress = "52:54:00:AB-cd:ef".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef");
        let plain = MagicPacket { mac, secure_on: None }.bytes();
        assert_eq!((plain.len(), &plain[..6]), (102, &[0xff; 6][..]));
        assert!(plain[6..].chunks(6).all(|chunk| chunk == mac.0));
        for (password, length) in [("01:02:03:04:05:06", 108), ("10.0.0.1", 106)] {
            let secure_on = SecureOn::parse(password);
            let packet = MagicPacket { mac, secure_on: secure_on.clone() }.bytes();
            assert_eq!(packet.len(), length);
            assert!(packet.ends_with(secure_on.unwrap().bytes()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in
            ["", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:01", "52:54:00:ab:cd:+f", "5254.00ab.cdef"]
        {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
            assert_eq!(SecureOn::parse(bad), None, "{bad}");
        }
        assert_eq!(format!("{:?}", SecureOn::parse("1.2.3.4").unwrap()), "SecureOn(…)");
    }
}
