//! Sends magic packets on this host's networks, so that a machine that is off wakes.
//!
//! A card that sleeps has no address but that of its hardware, so the packet goes to
//! everybody: to the broadcast address of each network, out of the interface that is on it,
//! whatever the routes say. A router may carry it further, to the broadcast address of
//! another network (a directed broadcast, RFC 2644: off in routers unless set).
//! Whether it arrived nobody can tell but the machine itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;

use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{Failure, FailureKind, MagicPacketSent, SendMagicPacket};
use drover_model::{MacAddress, MagicPacket, SecureOn};
use socket2::{Domain, Protocol, Socket, Type};

use crate::command::failure::failure;
use crate::observe::nics::{INTERFACES, Ipv4Interface, ipv4_interfaces, nics};

/// Discard (RFC 863): where magic packets go unless something else is wished.
const DEFAULT_PORT: u16 = 9;
/// Echo (RFC 862): the other custom.
const PORTS: [u16; 2] = [7, DEFAULT_PORT];

/// Most interfaces and most directed broadcasts of one question: far above what one host
/// needs, and a bound on what one question makes it send.
const MAX_WAYS: usize = 64;

/// One packet's way out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    /// None leaves it to the routes.
    interface: Option<String>,
    /// The address it is sent from, so that it is one of the network it goes to.
    from: Option<Ipv4Addr>,
    to: Ipv4Addr,
}

/// Sends it by every way, and says of each whether it left.
pub(super) async fn send_magic_packet(asked: SendMagicPacket) -> Result<Answer, Failure> {
    let refused = |why: String| failure(FailureKind::Refused, why);
    let packet = packet(&asked).map_err(refused)?;
    let port = port(asked.port).map_err(refused)?;
    let directed = directed(&asked.to).map_err(refused)?;
    if asked.interfaces.len() > MAX_WAYS {
        return Err(refused(format!("more than {MAX_WAYS} interfaces are named")));
    }
    let sending = move || {
        let known = ipv4_interfaces().map_err(|error| error.to_string())?;
        let interfaces = if asked.interfaces.is_empty() { own() } else { asked.interfaces };
        Ok(send_all(&known, &interfaces, &directed, port, &packet))
    };
    let sent = tokio::task::spawn_blocking(sending).await;
    let broken = |why: String| failure(FailureKind::Broken, why);
    let sent = sent.map_err(|error| broken(error.to_string()))?;
    sent.map(Answer::MagicPacketSent).map_err(broken)
}

fn own() -> Vec<String> {
    let mut names: Vec<String> = nics().into_iter().map(|nic| nic.name).collect();
    names.dedup();
    names
}

fn packet(asked: &SendMagicPacket) -> Result<Vec<u8>, String> {
    let length = asked.mac.len();
    let mac = <[u8; 6]>::try_from(asked.mac.as_slice());
    let mac = mac.map_err(|_| format!("a hardware address has 6 bytes, not {length}"))?;
    let secure_on = match asked.password.as_slice() {
        [] => None,
        bytes => {
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let password = SecureOn::parse(&pairs.join(":"));
            Some(password.ok_or("a SecureOn password has 4 or 6 bytes")?)
        }
    };
    Ok(MagicPacket { mac: MacAddress(mac), secure_on }.bytes())
}

fn port(asked: u32) -> Result<u16, String> {
    if asked == 0 {
        return Ok(DEFAULT_PORT);
    }
    let port = u16::try_from(asked).ok().filter(|port| PORTS.contains(port));
    port.ok_or_else(|| format!("magic packets go to port 7 or 9, not {asked}"))
}

fn directed(texts: &[String]) -> Result<Vec<Ipv4Addr>, String> {
    if texts.len() > MAX_WAYS {
        return Err(format!("more than {MAX_WAYS} addresses are named"));
    }
    let address = |text: &String| {
        text.parse().map_err(|_| format!("`{text}` is no IPv4 address: write e.g. 10.0.7.255"))
    };
    texts.iter().map(address).collect()
}

fn send_all(
    known: &[Ipv4Interface],
    interfaces: &[String],
    directed: &[Ipv4Addr],
    port: u16,
    packet: &[u8],
) -> MagicPacketSent {
    let mut answer = MagicPacketSent::default();
    let mut ways = Vec::new();
    for interface in interfaces {
        match fault(Path::new(INTERFACES), interface) {
            None => ways.extend(ways_out(known, interface)),
            Some(fault) => answer.failed.push(format!("{interface}: {fault}")),
        }
    }
    ways.extend(directed.iter().map(|to| Way { interface: None, from: None, to: *to }));
    for way in ways {
        let to = SocketAddrV4::new(way.to, port);
        let shown = |interface: &str| format!("{interface} {to}").trim_start().to_owned();
        match send(&way, to, packet) {
            Ok(from) => {
                let by_route = || known.iter().find(|one| Some(one.address) == from);
                let route = || by_route().map(|one| one.interface.clone()).unwrap_or_default();
                answer.sent.push(shown(&way.interface.clone().unwrap_or_else(route)));
            }
            Err(error) => {
                let interface = way.interface.as_deref().unwrap_or_default();
                answer.failed.push(format!("{}: {error}", shown(interface)));
            }
        }
    }
    answer
}

/// To the broadcast of each network of the interface; where it has none, to that of whatever
/// network is there.
fn ways_out(known: &[Ipv4Interface], interface: &str) -> Vec<Way> {
    let way = |from, to| Way { interface: Some(interface.to_owned()), from, to };
    let mut ways: Vec<Way> = Vec::new();
    for one in known.iter().filter(|one| one.interface == interface) {
        let to = one.broadcast.unwrap_or(Ipv4Addr::BROADCAST);
        // A second address of one network reaches nobody else.
        if !ways.iter().any(|known| known.to == to) {
            ways.push(way(Some(one.address), to));
        }
    }
    if ways.is_empty() {
        ways.push(way(None, Ipv4Addr::BROADCAST));
    }
    ways
}

/// Why nothing can leave by an interface: the kernel takes packets for one without a cable
/// and drops them.
fn fault(interfaces: &Path, name: &str) -> Option<&'static str> {
    let directory = interfaces.join(name);
    if name.is_empty() || name.contains('/') || !directory.is_dir() {
        return Some("there is no such interface");
    }
    // It cannot be read while the interface is down.
    match std::fs::read_to_string(directory.join("carrier")) {
        Ok(carrier) if carrier.trim() == "0" => Some("it has no carrier: is the cable plugged in?"),
        Ok(_) => None,
        Err(_) => Some("it is down"),
    }
}

/// Sends one packet; tells the address that it was sent from.
fn send(way: &Way, to: SocketAddrV4, packet: &[u8]) -> io::Result<Option<Ipv4Addr>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    if let Some(interface) = &way.interface
        && let Err(error) = socket.bind_device(Some(interface.as_bytes()))
        // Without the right to choose, the address has to choose.
        && (error.kind() != io::ErrorKind::PermissionDenied || way.from.is_none())
    {
        return Err(error);
    }
    let from = SocketAddrV4::new(way.from.unwrap_or(Ipv4Addr::UNSPECIFIED), 0);
    socket.bind(&SocketAddr::from(from).into())?;
    let socket = UdpSocket::from(socket);
    socket.connect(to)?;
    let sent = socket.send(packet)?;
    if sent != packet.len() {
        return Err(io::Error::other(format!("only {sent} of {} bytes left", packet.len())));
    }
    Ok(match socket.local_addr()? {
        SocketAddr::V4(from) => Some(*from.ip()),
        SocketAddr::V6(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(mac: &[u8], password: &[u8]) -> SendMagicPacket {
        let (mac, password) = (mac.to_vec(), password.to_vec());
        SendMagicPacket { mac, password, ..SendMagicPacket::default() }
    }

    #[test]
    fn a_question_that_cannot_be_meant_is_refused() {
        for (mac, password, length) in [(6, 0, 102), (6, 4, 106), (6, 6, 108)] {
            let packet = packet(&asked(&vec![2; mac], &vec![9; password])).unwrap();
            assert_eq!(packet.len(), length);
            assert!(packet.ends_with(&vec![9; password]));
        }
        assert!(packet(&asked(&[2; 5], &[])).unwrap_err().contains("6 bytes, not 5"));
        let error = packet(&asked(&[2; 6], &[0x5e; 5])).unwrap_err();
        assert!(error.contains("4 or 6") && !error.contains("5e"), "{error}");
        assert_eq!((port(0), port(7), port(9)), (Ok(9), Ok(7), Ok(9)));
        assert!(port(80).is_err() && port(65_545).is_err());
        assert_eq!(directed(&["10.0.7.255".to_owned()]), Ok(vec![[10, 0, 7, 255].into()]));
        assert!(directed(&["10.0.7.0/24".to_owned()]).is_err());
        assert!(directed(&vec!["10.0.7.255".to_owned(); MAX_WAYS + 1]).is_err());
    }

    #[test]
    fn each_network_of_an_interface_is_reached_once() {
        let known = |interface: &str, last, broadcast: Option<[u8; 4]>| Ipv4Interface {
            interface: interface.to_owned(),
            address: [10, 0, 0, last].into(),
            prefix: 24,
            broadcast: broadcast.map(Ipv4Addr::from),
        };
        let all = [
            known("eth0", 1, Some([10, 0, 0, 255])),
            known("eth0", 2, Some([10, 0, 0, 255])),
            known("eth0.7", 3, Some([10, 0, 7, 255])),
            known("eth1", 4, None),
        ];
        for (interface, from, to) in [
            ("eth0", Some([10, 0, 0, 1]), [10, 0, 0, 255]),
            ("eth0.7", Some([10, 0, 0, 3]), [10, 0, 7, 255]),
            ("eth1", Some([10, 0, 0, 4]), [255, 255, 255, 255]),
            ("eth2", None, [255, 255, 255, 255]),
        ] {
            let from = from.map(Ipv4Addr::from);
            let expected = Way { interface: Some(interface.to_owned()), from, to: to.into() };
            assert_eq!(ways_out(&all, interface), [expected]);
        }
    }

    #[test]
    fn an_interface_that_cannot_send_is_said_to() {
        let sys = tempfile::tempdir().unwrap();
        for (name, carrier) in [("up", Some("1\n")), ("loose", Some("0\n")), ("down", None)] {
            std::fs::create_dir(sys.path().join(name)).unwrap();
            if let Some(carrier) = carrier {
                std::fs::write(sys.path().join(name).join("carrier"), carrier).unwrap();
            }
        }
        let says = |name| fault(sys.path(), name).unwrap_or("nothing");
        assert_eq!(says("up"), "nothing");
        assert!(says("loose").contains("no carrier") && says("down").contains("down"));
        for name in ["none", "", "../up"] {
            assert!(says(name).contains("no such"), "{name}");
        }
    }
}
