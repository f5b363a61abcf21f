//! Who says that an address is his. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::{
    ARP_FRAME, ARP_REPLY, ARP_REQUEST, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, part,
};
use super::icmp6::{ADVERTISEMENT, ICMPV6, ROUTER};
use super::mac::Mac;

/// Somebody said that an address is his.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// Who.
    pub mac: Mac,
    /// What.
    pub address: IpAddr,
}

/// Reads a frame; none when it claims nothing, or not for its own sender.
pub(super) fn claim(frame: &[u8]) -> Option<Claim> {
    match u16::from_be_bytes(part(frame, 12)?) {
        ETHERTYPE_ARP => arp(frame),
        ETHERTYPE_IPV6 => advertisement(frame),
        _ => None,
    }
}

/// The address from which an IP packet comes: perhaps the sender's own, perhaps one for which
/// it routes.
pub(super) fn source(frame: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = match u16::from_be_bytes(part(frame, 12)?) {
        ETHERTYPE_IPV4 => Ipv4Addr::from(part::<4>(frame, 26)?).into(),
        ETHERTYPE_IPV6 => Ipv6Addr::from(part::<16>(frame, 22)?).into(),
        _ => return None,
    };
    let usable = !(address.is_unspecified() || address.is_multicast() || address.is_loopback());
    usable.then_some(address)
}

fn arp(frame: &[u8]) -> Option<Claim> {
    let ethernet_and_ipv4 = part(frame, 14)? == [0, 1, 8, 0, 6, 4];
    let operation = u16::from_be_bytes(part(frame, 20)?);
    let (sender, mac) = (part::<6>(frame, 6)?, part::<6>(frame, 22)?);
    let address = Ipv4Addr::from(part::<4>(frame, 28)?);
    let honest = frame.len() >= ARP_FRAME
        && ethernet_and_ipv4
        && [ARP_REQUEST, ARP_REPLY].contains(&operation)
        && sender == mac;
    let usable = !(address.is_unspecified() || address.is_broadcast() || address.is_multicast());
    (honest && usable).then_some(Claim { mac: Mac(mac), address: address.into() })
}

/// Only advertisements: they alone say whether their sender is a router, and a router is
/// never announced by others (`icmp6::unsolicited_advertisement` says why).
fn advertisement(frame: &[u8]) -> Option<Claim> {
    let kind: [u8; 1] = part(frame, 54)?;
    let next: [u8; 1] = part(frame, 20)?;
    let flags: [u8; 1] = part(frame, 58)?;
    let address = Ipv6Addr::from(part::<16>(frame, 62)?);
    let said = next == [ICMPV6] && kind == [ADVERTISEMENT] && flags[0] & ROUTER == 0;
    let usable = !(address.is_unspecified() || address.is_multicast());
    let mac = Mac(part(frame, 6)?);
    (said && usable).then_some(Claim { mac, address: address.into() })
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::super::icmp6;
    use super::*;

    const GUEST: Mac = Mac([0x52, 0x54, 0, 0x88, 0, 0x0b]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn claims_are_read_and_questions_are_none() {
        let v4 = Ipv4Addr::new(10, 88, 0, 11);
        let v6: Ipv6Addr = "fd00::b".parse().unwrap();
        let of = |address: IpAddr| Some(Claim { mac: GUEST, address });
        assert_eq!(claim(&frame::gratuitous_request(GUEST, v4)), of(v4.into()));
        assert_eq!(claim(&frame::gratuitous_reply(GUEST, v4)), of(v4.into()));
        assert_eq!(claim(&icmp6::unsolicited_advertisement(GUEST, v6)), of(v6.into()));
        for silent in [
            frame::rarp(GUEST),
            frame::question(OTHER, GUEST, v4.into()),
            frame::question(OTHER, GUEST, v6.into()),
            frame::gratuitous_request(GUEST, Ipv4Addr::BROADCAST),
            Vec::new(),
        ] {
            assert_eq!(claim(&silent), None, "{silent:?}");
        }
    }

    #[test]
    fn a_router_and_a_claim_for_somebody_else_are_not_believed() {
        let mut router = icmp6::unsolicited_advertisement(GUEST, "fd00::b".parse().unwrap());
        router[58] |= ROUTER;
        assert_eq!(claim(&router), None);
        let mut proxied = frame::gratuitous_reply(GUEST, Ipv4Addr::new(10, 88, 0, 11));
        proxied[6..12].copy_from_slice(&OTHER.0);
        assert_eq!(claim(&proxied), None);
    }

    #[test]
    fn the_source_of_a_packet_is_read() {
        let v6: Ipv6Addr = "fd00::b".parse().unwrap();
        let advertisement = icmp6::unsolicited_advertisement(GUEST, v6);
        assert_eq!(source(&advertisement), Some(v6.into()));
        let solicitation = icmp6::solicitation(OTHER, GUEST, v6);
        assert_eq!(source(&solicitation), None, "it has no source");
        let mut body = vec![0x45; 20];
        body[12..16].copy_from_slice(&[10, 88, 0, 11]);
        let packet = frame::frame(OTHER, GUEST, 0x0800, &body);
        assert_eq!(source(&packet), Some(IpAddr::from([10, 88, 0, 11])));
        assert_eq!(source(&frame::rarp(GUEST)), None);
        assert_eq!(source(&packet[..29]), None);
    }

    #[test]
    fn any_frame_may_come() {
        let whole = icmp6::unsolicited_advertisement(GUEST, "fd00::b".parse().unwrap());
        for length in 0..whole.len() - 8 {
            assert_eq!(claim(&whole[..length]), None, "{length}");
        }
        let arp = frame::gratuitous_reply(GUEST, Ipv4Addr::new(10, 88, 0, 11));
        for length in 0..ARP_FRAME {
            assert_eq!(claim(&arp[..length]), None, "{length}");
        }
    }
}
