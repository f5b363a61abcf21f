//! Tells the host's own bridge at which of its ports a guest is.
//!
//! Frames that the agent sends on the bridge leave by all its ports, so the switches beyond
//! learn; the bridge itself learns from what comes in by a port, and from the agent nothing
//! does. Left alone it would send what is for the guest out by its uplink, where it learned
//! the guest's address while the guest was elsewhere, until the guest speaks.

use std::io;

use rustix::net::netdevice::name_to_index;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, sendto, socket_with};

use super::mac::Mac;

/// `RTM_NEWNEIGH` (linux/rtnetlink.h).
const NEW_NEIGHBOUR: u16 = 28;
/// `NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE | NLM_F_CREATE` (linux/netlink.h).
const REPLACE_AND_ANSWER: u16 = 0x01 | 0x04 | 0x100 | 0x400;
/// `NLMSG_ERROR`: an answer, of success too.
const ANSWER: u16 = 2;
/// `AF_BRIDGE`.
const BRIDGE: u8 = 7;
/// `NUD_REACHABLE`: an entry that ages and moves like a learned one.
const DYNAMIC: u16 = 0x02;
/// `NTF_MASTER`: for the bridge of which the interface is a port.
const OF_MASTER: u8 = 0x04;
/// `NDA_LLADDR`.
const LINK_LAYER_ADDRESS: u16 = 2;

/// Makes the bridge of which `tap` is a port send what is for `guest` there, until it learns
/// otherwise. Needs `CAP_NET_ADMIN`. Takes some microseconds.
pub fn point(tap: &str, guest: Mac) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let index = name_to_index(&socket, tap)?;
    let message = message(index, guest);
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 256];
    // The kernel answers while it takes the message: there is nothing to wait for.
    let (length, _) = recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
    verdict(&answer[..length])
}

fn message(index: u32, guest: Mac) -> Vec<u8> {
    let mut message = Vec::with_capacity(40);
    // nlmsghdr: length, type, flags, sequence, port.
    message.extend(40_u32.to_ne_bytes());
    message.extend(NEW_NEIGHBOUR.to_ne_bytes());
    message.extend(REPLACE_AND_ANSWER.to_ne_bytes());
    message.extend([0; 8]);
    // ndmsg: family, padding, interface, state, flags, type.
    message.extend([BRIDGE, 0, 0, 0]);
    message.extend(index.to_ne_bytes());
    message.extend(DYNAMIC.to_ne_bytes());
    message.extend([OF_MASTER, 0]);
    // One attribute: length, type, value, padding.
    message.extend(10_u16.to_ne_bytes());
    message.extend(LINK_LAYER_ADDRESS.to_ne_bytes());
    message.extend(guest.0);
    message.extend([0; 2]);
    message
}

fn verdict(answer: &[u8]) -> io::Result<()> {
    let part = |at: usize| answer.get(at..at + 4).and_then(|part| part.try_into().ok());
    let kind = part(4).map(|part: [u8; 4]| u16::from_ne_bytes([part[0], part[1]]));
    match (kind, part(16).map(i32::from_ne_bytes)) {
        (Some(ANSWER), Some(0)) => Ok(()),
        (Some(ANSWER), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer that is none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_what_the_bridge_command_sends() {
        let message = message(9, Mac([0x52, 0x54, 0, 0x99, 0, 1]));
        let mut expected = Vec::new();
        expected.extend(40_u32.to_ne_bytes());
        expected.extend(28_u16.to_ne_bytes());
        expected.extend(0x505_u16.to_ne_bytes());
        expected.extend([0; 8]);
        expected.extend([7, 0, 0, 0]);
        expected.extend(9_u32.to_ne_bytes());
        expected.extend(2_u16.to_ne_bytes());
        expected.extend([4, 0]);
        expected.extend(10_u16.to_ne_bytes());
        expected.extend(2_u16.to_ne_bytes());
        expected.extend([0x52, 0x54, 0, 0x99, 0, 1, 0, 0]);
        assert_eq!(message, expected);
    }

    #[test]
    fn answers_are_read() {
        let answer = |code: i32| {
            let mut answer = vec![0; 36];
            answer[4] = 2_u16.to_ne_bytes()[0];
            answer[5] = 2_u16.to_ne_bytes()[1];
            answer[16..20].copy_from_slice(&code.to_ne_bytes());
            answer
        };
        assert!(verdict(&answer(0)).is_ok());
        assert_eq!(verdict(&answer(-1)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(verdict(&[]).is_err());
    }
}
