//! By which addresses this host and others reach each other.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};

/// The address that this host uses to reach the host of `url`, as the routing table has it.
/// Nothing is sent.
pub(crate) fn address_towards(url: &str) -> Option<IpAddr> {
    let host = uri_host(url)?;
    let target = (host, 9).to_socket_addrs().ok()?.next()?;
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// The host part of `scheme://[user@]host[:port][/…]`, without the brackets of IPv6.
pub(crate) fn uri_host(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

/// The port of `scheme://[user@]host:port[/…]`.
pub(crate) fn uri_port(uri: &str) -> Option<u16> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    host.rsplit(']').next()?.rsplit_once(':')?.1.parse().ok()
}

/// The URI by which other hosts' libvirtd reaches this one's at `address`.
pub(crate) fn default_peer_uri(address: &str) -> String {
    if address.contains(':') {
        format!("qemu+tls://[{address}]/system")
    } else {
        format!("qemu+tls://{address}/system")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_uri_is_found() {
        for (uri, host) in [
            ("https://10.77.0.100:7440", Some("10.77.0.100")),
            ("https://[fd00::1]:7440/x", Some("fd00::1")),
            ("qemu+ssh://root@h1/system", Some("h1")),
            ("qemu+tls://h1/system?x=1", Some("h1")),
            ("qemu:///system", None),
            ("h1", None),
        ] {
            assert_eq!(uri_host(uri), host, "{uri}");
        }
    }

    #[test]
    fn ipv6_addresses_are_bracketed_in_the_peer_uri() {
        assert_eq!(default_peer_uri("10.0.0.1"), "qemu+tls://10.0.0.1/system");
        assert_eq!(default_peer_uri("fd00::1"), "qemu+tls://[fd00::1]/system");
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        assert_eq!(address_towards("https://127.0.0.1:1"), Some([127, 0, 0, 1].into()));
    }
}
