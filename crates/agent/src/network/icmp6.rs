//! Neighbour discovery, RFC 4861. Pure.

use std::net::Ipv6Addr;

use super::frame::{ETHERTYPE_IPV6, frame, solicited_node};
use super::mac::Mac;

pub(super) const ICMPV6: u8 = 58;
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;

/// Neighbour discovery is heard only with this hop limit: no router has touched it.
const HOP_LIMIT: u8 = 255;
/// Flag R: the sender is a router.
pub(super) const ROUTER: u8 = 0x80;
/// Flag O: it overrides what was known.
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Tells all nodes that `address` is at `guest`. Without flag R: neighbours would strike a
/// router off their lists, so a router's addresses must never be announced by this.
pub(super) fn unsolicited_advertisement(guest: Mac, address: Ipv6Addr) -> Vec<u8> {
    let mut body = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    body.extend(address.octets());
    // Type, length in units of 8 octets.
    body.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
    body.extend(guest.0);
    // RFC 2464: 33:33 and the last four octets of the group.
    packet(Mac([0x33, 0x33, 0, 0, 0, 1]), guest, address, ALL_NODES, body)
}

/// Asks for `address` as one who has none (RFC 4862, 5.4.2), to `guest` alone.
pub(super) fn solicitation(asker: Mac, guest: Mac, address: Ipv6Addr) -> Vec<u8> {
    let mut body = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    body.extend(address.octets());
    // To the group by its IPv6 address, as nodes demand, to one node by its Ethernet address
    // (RFC 6085).
    packet(guest, asker, Ipv6Addr::UNSPECIFIED, solicited_node(address), body)
}

fn packet(to: Mac, from: Mac, source: Ipv6Addr, target: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let sum = checksum(source, target, &body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, 0, length(&body), ICMPV6, HOP_LIMIT];
    packet.extend(source.octets());
    packet.extend(target.octets());
    packet.extend(body);
    frame(to, from, ETHERTYPE_IPV6, &packet)
}

fn length(body: &[u8]) -> u8 {
    // 24 or 32 octets.
    u8::try_from(body.len()).unwrap_or(u8::MAX)
}

/// RFC 4443, 2.3: over the pseudo-header and the message, whose own field is still zero.
fn checksum(source: Ipv6Addr, target: Ipv6Addr, body: &[u8]) -> u16 {
    let ends = [0, 0, 0, length(body), 0, 0, 0, ICMPV6];
    let mut sum: u32 = 0;
    for part in [&source.octets()[..], &target.octets()[..], &ends[..], body] {
        for pair in part.chunks_exact(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits above")]
    let folded = sum as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Mac = Mac([0x52, 0x54, 0, 0x88, 0, 0x0b]);

    fn hex(frame: &[u8]) -> String {
        frame.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// A receiver sums over all of it, checksum included, and finds nothing but ones.
    fn sums_up(frame: &[u8]) -> bool {
        let address =
            |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
        checksum(address(22), address(38), &frame[54..]) == 0
    }

    #[test]
    fn an_advertisement_is_laid_out_as_rfc_4861_says() {
        let frame = unsolicited_advertisement(GUEST, "fd00::b".parse().unwrap());
        let address = "fd00000000000000000000000000000b";
        let text = hex(&frame);
        assert_eq!(
            format!("{}....{}", &text[..112], &text[116..]),
            format!(
                "33330000000152540088000b86dd6000000000203aff{address}\
                 ff0200000000000000000000000000018800....20000000{address}020152540088000b"
            )
        );
        assert!(sums_up(&frame));
    }

    #[test]
    fn a_solicitation_is_laid_out_as_rfc_4861_says() {
        let asker = Mac([2, 0, 0, 0, 0, 1]);
        let frame = solicitation(asker, GUEST, "fd00::1:2:b".parse().unwrap());
        let text = hex(&frame);
        assert_eq!(
            format!("{}....{}", &text[..112], &text[116..]),
            "52540088000b02000000000186dd6000000000183aff00000000000000000000000000000000\
             ff0200000000000000000001ff02000b8700....00000000fd00000000000000000000010002000b"
        );
        assert!(sums_up(&frame));
    }
}
