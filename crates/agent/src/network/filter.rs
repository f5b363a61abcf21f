//! Filters that the kernel runs on frames before the agent is woken: classic BPF, as packet
//! sockets take it (`SO_ATTACH_FILTER`). Pure.
//!
//! A guest may send a million frames in a second; without a filter each would be copied to
//! the agent.

use super::frame::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_RARP};
use super::icmp6::{ADVERTISEMENT, ICMPV6};
use super::mac::Mac;

/// One instruction: code, jump if true, jump if false, operand (linux/filter.h).
pub type Instruction = (u16, u8, u8, u32);

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Where the kernel's own knowledge of a frame is (`SKF_AD_OFF`).
const ANCILLARY: u32 = 0xffff_f000;
/// Where it goes or comes from (`SKF_AD_PKTTYPE`).
const PACKET_TYPE: u32 = ANCILLARY + 4;
/// Whether it has a VLAN tag (`SKF_AD_VLAN_TAG_PRESENT`).
const TAGGED: u32 = ANCILLARY + 48;
/// `PACKET_OUTGOING`: the host sends it, to the guest where the interface is a tap.
const OUTGOING: u32 = 4;

/// As much of a frame as anybody here reads.
const TAKEN: u32 = 256;

/// What a frame must be to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Nothing passes: for sockets that only send.
    Nothing,
    /// ARP, and IPv6 neighbour advertisements; untagged, since the agent speaks of untagged
    /// networks only.
    Claims,
    /// Untagged IP packets that this card sends.
    IpOf(Mac),
    /// What this card sends by its guest's own doing: RARP is QEMU's.
    SentBy(Mac),
    /// Claims that this card sends.
    ClaimsOf(Mac),
}

/// The program of a filter.
pub fn program(filter: Filter) -> Vec<Instruction> {
    match filter {
        Filter::Nothing => vec![(RETURN, 0, 0, 0)],
        Filter::Claims => claims(),
        Filter::IpOf(mac) => [from(mac), ip()].concat(),
        Filter::SentBy(mac) => [from(mac), not_rarp(), vec![(RETURN, 0, 0, TAKEN)]].concat(),
        Filter::ClaimsOf(mac) => [from(mac), claims()].concat(),
    }
}

/// Goes on where the frame comes from `mac` and to this host's side.
fn from(mac: Mac) -> Vec<Instruction> {
    let [a, b, c, d, e, f] = mac.0;
    let mut program = Vec::new();
    program.extend(must(LOAD_WORD, 6, u32::from_be_bytes([a, b, c, d])));
    program.extend(must(LOAD_HALF, 10, u16::from_be_bytes([e, f]).into()));
    program.extend(must_not(LOAD_BYTE, PACKET_TYPE, OUTGOING));
    program
}

fn not_rarp() -> Vec<Instruction> {
    must_not(LOAD_HALF, 12, ETHERTYPE_RARP.into()).to_vec()
}

fn ip() -> Vec<Instruction> {
    let mut program = must(LOAD_BYTE, TAGGED, 0).to_vec();
    program.extend([
        (LOAD_HALF, 0, 0, 12),
        (JUMP_IF_EQUAL, 0, 1, ETHERTYPE_IPV4.into()),
        (RETURN, 0, 0, TAKEN),
    ]);
    program.extend(must(LOAD_HALF, 12, ETHERTYPE_IPV6.into()));
    program.push((RETURN, 0, 0, TAKEN));
    program
}

fn claims() -> Vec<Instruction> {
    let mut program = must(LOAD_BYTE, TAGGED, 0).to_vec();
    program.extend([
        (LOAD_HALF, 0, 0, 12),
        (JUMP_IF_EQUAL, 0, 1, ETHERTYPE_ARP.into()),
        (RETURN, 0, 0, TAKEN),
    ]);
    program.extend(must(LOAD_HALF, 12, ETHERTYPE_IPV6.into()));
    program.extend(must(LOAD_BYTE, 20, ICMPV6.into()));
    program.extend(must(LOAD_BYTE, 54, ADVERTISEMENT.into()));
    program.push((RETURN, 0, 0, TAKEN));
    program
}

/// Drops the frame unless what is loaded equals `value`.
const fn must(load: u16, at: u32, value: u32) -> [Instruction; 3] {
    [(load, 0, 0, at), (JUMP_IF_EQUAL, 1, 0, value), (RETURN, 0, 0, 0)]
}

/// Drops the frame if what is loaded equals `value`.
const fn must_not(load: u16, at: u32, value: u32) -> [Instruction; 3] {
    [(load, 0, 0, at), (JUMP_IF_EQUAL, 0, 1, value), (RETURN, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::super::{frame, icmp6};
    use super::*;

    const GUEST: Mac = Mac([0x52, 0x54, 0, 0x88, 0, 0x0b]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// What the kernel does with such a program.
    fn passes(program: &[Instruction], frame: &[u8], packet_type: u32, tagged: u32) -> bool {
        let load = |at: u32, length: usize| -> Option<u32> {
            let at = at as usize;
            Some(
                frame
                    .get(at..at + length)?
                    .iter()
                    .fold(0, |sum, octet| sum << 8 | u32::from(*octet)),
            )
        };
        let (mut at, mut value) = (0, 0);
        loop {
            let (code, yes, no, operand) = program[at];
            let loaded = match (code, operand) {
                (LOAD_BYTE, PACKET_TYPE) => Some(packet_type),
                (LOAD_BYTE, TAGGED) => Some(tagged),
                (LOAD_WORD, _) => load(operand, 4),
                (LOAD_HALF, _) => load(operand, 2),
                (LOAD_BYTE, _) => load(operand, 1),
                (JUMP_IF_EQUAL, _) => {
                    at += usize::from(if value == operand { yes } else { no });
                    Some(value)
                }
                (RETURN, _) => return operand > 0,
                _ => panic!("no such instruction"),
            };
            // A load beyond the frame drops it.
            let Some(loaded) = loaded else { return false };
            value = loaded;
            at += 1;
        }
    }

    #[test]
    fn each_filter_passes_what_it_is_for() {
        let v6 = "fd00::b".parse().unwrap();
        let claim = frame::gratuitous_reply(GUEST, [10, 0, 0, 1].into());
        let advertisement = icmp6::unsolicited_advertisement(GUEST, v6);
        let solicitation = icmp6::solicitation(OTHER, GUEST, v6);
        let others = frame::gratuitous_reply(OTHER, [10, 0, 0, 1].into());
        let rarp = frame::rarp(GUEST);
        let tcp = frame::frame(OTHER, GUEST, 0x0800, &[0x45; 46]);
        let (of, sent) = (Filter::ClaimsOf(GUEST), Filter::SentBy(GUEST));
        for (filter, frame, packet_type, tagged, expected) in [
            (Filter::Nothing, &claim, 0, 0, false),
            (Filter::Claims, &claim, 0, 0, true),
            (Filter::Claims, &claim, OUTGOING, 0, true),
            (Filter::Claims, &claim, 0, 1, false),
            (Filter::Claims, &advertisement, 0, 0, true),
            (Filter::Claims, &solicitation, 0, 0, false),
            (Filter::Claims, &tcp, 0, 0, false),
            (Filter::Claims, &rarp, 0, 0, false),
            (of, &claim, 0, 0, true),
            (of, &advertisement, 0, 0, true),
            (of, &others, 0, 0, false),
            (of, &claim, OUTGOING, 0, false),
            (of, &tcp, 0, 0, false),
            (Filter::IpOf(GUEST), &tcp, 0, 0, true),
            (Filter::IpOf(GUEST), &tcp, OUTGOING, 0, false),
            (Filter::IpOf(GUEST), &tcp, 0, 1, false),
            (Filter::IpOf(GUEST), &advertisement, 0, 0, true),
            (Filter::IpOf(GUEST), &claim, 0, 0, false),
            (sent, &tcp, 0, 0, true),
            (sent, &tcp, OUTGOING, 0, false),
            (sent, &claim, 1, 0, true),
            (sent, &rarp, 1, 0, false),
            (sent, &others, 1, 0, false),
        ] {
            let program = program(filter);
            assert_eq!(passes(&program, frame, packet_type, tagged), expected, "{filter:?}");
            assert!(!passes(&program, &frame[..9], 0, 0), "a short frame");
        }
    }
}
