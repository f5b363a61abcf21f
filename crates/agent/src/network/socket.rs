//! A packet socket (packet(7)) on one interface.
//!
//! Three crates, each for what it has without unsafe code of ours: rustix makes the socket and
//! sends, socket2 attaches the filter, and nix binds, since only there an interface's
//! link-layer address can be had. To tokio it is a datagram socket like any other: it waits
//! and calls recv(2), and has no type of its own for this family.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram as Datagrams;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, SockaddrLike as _, bind};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, eth, send, socket_with};
use socket2::{SockFilter, Socket};
use tokio::net::UnixDatagram;

use super::filter::{Filter, program};

/// Longest frame that is looked at; see the filters.
const FRAME: usize = 256;

/// A packet socket.
#[derive(Debug)]
pub struct PacketSocket {
    socket: UnixDatagram,
}

impl PacketSocket {
    /// Opens a socket that hears what passes the filter on this interface, both ways, and
    /// sends out of it. Needs `CAP_NET_RAW`.
    pub fn open(interface: &str, filter: Filter) -> io::Result<Self> {
        let address = link_address(interface)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd: OwnedFd =
            socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(eth::ALL))?;
        let socket = Socket::from(fd);
        // Until it is bound it hears every interface.
        attach(&socket, Filter::Nothing)?;
        bind(socket.as_raw_fd(), &address)?;
        drain(&socket);
        attach(&socket, filter)?;
        let socket = Datagrams::from(OwnedFd::from(socket));
        Ok(Self { socket: UnixDatagram::from_std(socket)? })
    }

    /// Sends a frame. Never waits: a frame that finds the queue full is lost, as on any
    /// Ethernet.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        Ok(send(&self.socket, frame, SendFlags::DONTWAIT).map(drop)?)
    }

    /// The next frame, or its beginning.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; FRAME];
        let length = self.socket.recv(&mut buffer).await?;
        Ok(buffer[..length].to_vec())
    }
}

fn attach(socket: &Socket, filter: Filter) -> io::Result<()> {
    let program: Vec<SockFilter> = program(filter)
        .into_iter()
        .map(|(code, yes, no, operand)| SockFilter::new(code, yes, no, operand))
        .collect();
    socket.attach_filter(&program)
}

/// Throws away what was heard before the filter and the interface were set.
fn drain(mut socket: &Socket) {
    while socket.read(&mut [0; FRAME]).is_ok() {}
}

fn link_address(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .filter(|address| address.family() == Some(nix::sys::socket::AddressFamily::Packet))
        .ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {interface}"))
        })
}
