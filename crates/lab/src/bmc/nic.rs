//! A host's network card while the host is off: it waits for a magic packet.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType, eth, socket_with};
use serde::{Deserialize, Serialize};

use crate::lab::Lab;
use crate::tools::write;

/// How a host's card is set up; kept in the host's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// It has power while the host is off. A dead one has no link either.
    pub wakes: bool,
    /// Its SecureOn password, 4 or 6 bytes.
    pub password: Option<Vec<u8>>,
}

impl Default for Nic {
    fn default() -> Self {
        Self { wakes: true, password: None }
    }
}

impl Nic {
    /// A SecureOn password: six pairs of hex digits, or four numbers with dots.
    pub fn parse_password(text: &str) -> anyhow::Result<Vec<u8>> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(address.octets().to_vec());
        }
        octets(text).with_context(|| {
            format!("`{text}` is no SecureOn password: write six pairs of hex digits, as in 01:02:03:04:05:06, or four numbers, as in 1.2.3.4")
        })
    }
}

impl Lab {
    /// How a host's card is set up.
    pub fn nic(&self, host: &str) -> anyhow::Result<Nic> {
        self.known_host(host)?;
        match std::fs::read_to_string(self.member_dir(host).join("nic.json")) {
            Ok(text) => serde_json::from_str(&text).context("nic.json is unreadable"),
            Err(_) => Ok(Nic::default()),
        }
    }

    /// Sets up a host's card; at once, also where the host is off.
    pub fn set_nic(&self, host: &str, nic: &Nic) -> anyhow::Result<()> {
        self.known_host(host)?;
        ensure!(self.spec().bmc, "no host of this lab can be woken: bring it up with --bmc");
        let _held = self.hold_switch(host)?;
        write(&self.member_dir(host).join("nic.json"), &serde_json::to_string(nic)?)?;
        if self.stands_by(host) { self.stand_by(host) } else { Ok(()) }
    }

    /// Hears every frame that reaches a host: its own, and those for all.
    pub(crate) fn ear(&self, host: &str) -> anyhow::Result<OwnedFd> {
        // The socket stays in the namespace in which it was made.
        self.in_network_of(host, || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(eth::ALL))
                .context("open a packet socket")
        })?
    }
}

/// Whether a frame holds the magic packet of this address, and this password behind it.
///
/// A card looks for it anywhere in a frame, so it may come in any protocol: as UDP to port
/// 9 or 7, as ethertype 0x0842, with a VLAN tag.
pub(crate) fn wakes(frame: &[u8], mac: [u8; 6], password: Option<&[u8]>) -> bool {
    let mut magic = vec![0xff; 6];
    magic.extend(mac.repeat(16));
    magic.extend_from_slice(password.unwrap_or_default());
    frame.windows(magic.len()).any(|window| window == magic)
}

/// Pairs of hex digits between colons.
pub(crate) fn octets(text: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let octet = |part: &&str| {
        let pair = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        pair.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    (parts.len() == 6).then(|| parts.iter().map(octet).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 3];

    fn frame(mac: [u8; 6], password: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x11; 42];
        frame.extend([0xff; 6]);
        frame.extend(mac.repeat(16));
        frame.extend(password);
        frame
    }

    #[test]
    fn a_card_wakes_by_its_own_packet_only() {
        assert!(wakes(&frame(MAC, &[]), MAC, None));
        assert!(!wakes(&frame([0x52, 0x54, 0, 0x77, 0, 4], &[]), MAC, None));
        let mut short = frame(MAC, &[]);
        short.pop();
        assert!(!wakes(&short, MAC, None));
        assert!(!wakes(&[], MAC, None));
        // More 0xff before it, as a broadcast has.
        let mut padded = vec![0xff; 5];
        padded.extend(&frame(MAC, &[])[42..]);
        assert!(wakes(&padded, MAC, None));
    }

    #[test]
    fn a_card_with_a_password_asks_for_it() {
        let password = Nic::parse_password("01:02:03:04:05:06").unwrap();
        assert!(wakes(&frame(MAC, &password), MAC, Some(&password)));
        assert!(!wakes(&frame(MAC, &[]), MAC, Some(&password)));
        assert!(!wakes(&frame(MAC, &[1, 2, 3, 4, 5, 7]), MAC, Some(&password)));
        // One without takes any packet.
        assert!(wakes(&frame(MAC, &password), MAC, None));
        assert_eq!(Nic::parse_password("1.2.3.4").unwrap(), [1, 2, 3, 4]);
        assert!(Nic::parse_password("secret").is_err());
    }
}
