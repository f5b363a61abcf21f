//! The frames that say where a guest is, and those that ask it. Pure.
//!
//! Layouts: ARP RFC 826, RARP RFC 903, announcements and probes of IPv4 addresses RFC 5227,
//! neighbour discovery RFC 4861. Six fixed layouts of at most 86 octets: no crate has all of
//! them (RARP and the options of neighbour discovery are missing), and together they are
//! shorter than the use of one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::icmp6;
use super::mac::Mac;

/// Shortest frame on an Ethernet without its checksum: some switches drop shorter ones.
const MIN_FRAME: usize = 60;

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
pub(super) const ETHERTYPE_RARP: u16 = 0x8035;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Length of an ARP message for IPv4 over Ethernet, with the frame's header.
pub(super) const ARP_FRAME: usize = 42;

pub(super) const ARP_REQUEST: u16 = 1;
pub(super) const ARP_REPLY: u16 = 2;
const RARP_REQUEST: u16 = 3;

/// Everything that tells a network where this guest is: for switches of any kind one RARP
/// frame, for neighbours and routers one request and one reply per IPv4 address (some accept
/// only the one, some only the other) and one advertisement per IPv6 address.
pub fn announcement(guest: Mac, addresses: &[IpAddr]) -> Vec<Vec<u8>> {
    let mut frames = vec![rarp(guest)];
    for address in addresses {
        match *address {
            IpAddr::V4(address) => {
                frames.push(gratuitous_request(guest, address));
                frames.push(gratuitous_reply(guest, address));
            }
            IpAddr::V6(address) => frames.push(icmp6::unsolicited_advertisement(guest, address)),
        }
    }
    frames
}

/// Asks `guest` alone, without claiming any address of one's own: it answers to `asker`
/// (IPv6: to all), and nobody's tables change.
pub fn question(asker: Mac, guest: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp_probe(asker, guest, address),
        IpAddr::V6(address) => icmp6::solicitation(asker, guest, address),
    }
}

/// A reverse ARP request of a guest for itself: its source address is all that counts.
pub fn rarp(guest: Mac) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let body = arp_body(RARP_REQUEST, (guest, none), (guest, none));
    frame(Mac::BROADCAST, guest, ETHERTYPE_RARP, &body)
}

/// An ARP announcement in the form of a request.
pub fn gratuitous_request(guest: Mac, address: Ipv4Addr) -> Vec<u8> {
    let body = arp_body(ARP_REQUEST, (guest, address), (Mac::ZERO, address));
    frame(Mac::BROADCAST, guest, ETHERTYPE_ARP, &body)
}

/// An ARP announcement in the form of a reply that nobody asked for.
pub fn gratuitous_reply(guest: Mac, address: Ipv4Addr) -> Vec<u8> {
    let body = arp_body(ARP_REPLY, (guest, address), (guest, address));
    frame(Mac::BROADCAST, guest, ETHERTYPE_ARP, &body)
}

/// An ARP probe: sender 0.0.0.0. To the guest alone, so that a probe every 20 ms burdens
/// nobody else.
fn arp_probe(asker: Mac, guest: Mac, address: Ipv4Addr) -> Vec<u8> {
    let body = arp_body(ARP_REQUEST, (asker, Ipv4Addr::UNSPECIFIED), (Mac::ZERO, address));
    frame(guest, asker, ETHERTYPE_ARP, &body)
}

fn arp_body(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    // Ethernet, IPv4, lengths 6 and 4.
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        body.extend(mac.0);
        body.extend(address.octets());
    }
    body
}

pub(super) fn frame(to: Mac, from: Mac, ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(MIN_FRAME.max(14 + body.len()));
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(body);
    if frame.len() < MIN_FRAME {
        frame.resize(MIN_FRAME, 0);
    }
    frame
}

/// Takes a part of a frame, if it is that long.
pub(super) fn part<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A solicitation's or advertisement's IPv6 address, for tests and askers of IPv6.
pub(super) const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., g, h] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (g & 0xff), h)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Mac = Mac([0x52, 0x54, 0, 0x88, 0, 0x0b]);
    const ASKER: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 11);

    fn hex(frame: &[u8]) -> String {
        let text: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
        // Padding is not part of a layout.
        assert_eq!(frame.len(), MIN_FRAME);
        assert!(frame[ARP_FRAME..].iter().all(|octet| *octet == 0));
        text[..2 * ARP_FRAME].to_owned()
    }

    /// RFC 826: hardware 1, protocol 0800, lengths 6 and 4, operation, sender, target.
    #[test]
    fn frames_are_laid_out_as_the_standards_say() {
        let guest = "52540088000b";
        let asker = "020000000001";
        let fixed = "0001080006 04".replace(' ', "");
        for (frame, expected) in [
            (
                rarp(GUEST),
                format!("ffffffffffff{guest}8035{fixed}0003{guest}00000000{guest}00000000"),
            ),
            (
                gratuitous_request(GUEST, ADDRESS),
                format!("ffffffffffff{guest}0806{fixed}0001{guest}0a58000b0000000000000a58000b"),
            ),
            (
                gratuitous_reply(GUEST, ADDRESS),
                format!("ffffffffffff{guest}0806{fixed}0002{guest}0a58000b{guest}0a58000b"),
            ),
            (
                question(ASKER, GUEST, ADDRESS.into()),
                format!("{guest}{asker}0806{fixed}0001{asker}000000000000000000000a58000b"),
            ),
        ] {
            assert_eq!(hex(&frame), expected);
        }
    }

    #[test]
    fn an_announcement_names_every_address() {
        let v6: IpAddr = "fe80::1".parse().unwrap();
        assert_eq!(announcement(GUEST, &[]), [rarp(GUEST)]);
        let frames = announcement(GUEST, &[ADDRESS.into(), v6]);
        assert_eq!(frames.len(), 4);
        assert!(frames.iter().all(|frame| frame[6..12] == GUEST.0), "as if the guest sent them");
    }
}
