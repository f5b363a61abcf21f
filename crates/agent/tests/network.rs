//! Packet sockets, their filters and the bridge's table, on a real bridge in a network
//! namespace of this test's own. Needs root, as the agent does; fails where it is not.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use drover_agent::network::fdb;
use drover_agent::network::filter::Filter;
use drover_agent::network::frame::{announcement, gratuitous_reply, question, rarp};
use drover_agent::network::mac::Mac;
use drover_agent::network::socket::PacketSocket;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::time::timeout;

const GUEST: Mac = Mac([0x52, 0x54, 0, 0x88, 0, 0x0b]);
const ASKER: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The port to which the bridge sends what is for the guest.
fn learned() -> Option<String> {
    let shown = run("bridge fdb show br br0");
    let line = shown.lines().find(|line| line.starts_with(&GUEST.to_string()))?;
    line.split_whitespace().nth(2).map(str::to_owned)
}

/// A namespace with a bridge, its uplink (`wire` is the far end) and a guest's port (`card` is
/// the guest's side). This thread moves into it; it is removed at the end.
struct Net(String);

impl Net {
    fn new() -> Self {
        let name = format!("drover-agent-test-{}", std::process::id());
        run(&format!("ip netns add {name}"));
        let net = Self(name);
        let file = File::open(format!("/run/netns/{}", net.0)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        run("ip link add br0 type bridge forward_delay 0");
        for (port, far) in [("up0", "wire"), ("vnet0", "card")] {
            run(&format!("ip link add {port} type veth peer name {far}"));
            run(&format!("ip link set {port} master br0 up"));
            run(&format!("ip link set {far} up"));
        }
        run("ip link set br0 up");
        net
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Whether the socket hears a frame soon.
async fn hears(socket: &PacketSocket) -> Option<Vec<u8>> {
    timeout(Duration::from_millis(300), socket.receive()).await.ok().map(Result::unwrap)
}

/// One thread, since a namespace is a thread's.
#[tokio::test(flavor = "current_thread")]
async fn an_announcement_leaves_by_the_uplink_and_the_bridge_knows_the_port() {
    let _net = Net::new();
    let address = [10, 88, 0, 11].into();
    let only_send = |interface| PacketSocket::open(interface, Filter::Nothing).unwrap();
    let (wire, bridge, card) = (only_send("wire"), only_send("br0"), only_send("card"));

    // The guest was behind the wire: that is what the bridge has learned.
    wire.send(&rarp(GUEST)).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(learned().as_deref(), Some("up0"));

    // An announcement on the bridge reaches the wire and teaches the bridge nothing.
    let far = PacketSocket::open("wire", Filter::ClaimsOf(GUEST)).unwrap();
    let speaks = PacketSocket::open("vnet0", Filter::SentBy(GUEST)).unwrap();
    for frame in announcement(GUEST, &[address]) {
        bridge.send(&frame).unwrap();
    }
    assert_eq!(hears(&far).await.unwrap()[6..12], GUEST.0);
    assert_eq!(learned().as_deref(), Some("up0"));
    fdb::point("vnet0", GUEST).unwrap();
    assert_eq!(learned().as_deref(), Some("vnet0"));

    // A question is for the guest alone now, and reaches it.
    let wire_hears = PacketSocket::open("wire", Filter::ClaimsOf(ASKER)).unwrap();
    let guest_hears = PacketSocket::open("card", Filter::SentBy(ASKER)).unwrap();
    bridge.send(&question(ASKER, GUEST, address)).unwrap();
    assert_eq!(hears(&guest_hears).await, Some(question(ASKER, GUEST, address)));
    assert_eq!(hears(&wire_hears).await, None);

    // What the host said for the guest, and QEMU's own RARP, are not the guest's word.
    card.send(&rarp(GUEST)).unwrap();
    assert_eq!(hears(&speaks).await, None);
    let word = gratuitous_reply(GUEST, [10, 88, 0, 11].into());
    card.send(&word).unwrap();
    assert_eq!(hears(&speaks).await, Some(word));

    let error = fdb::point("nowhere", GUEST).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(19), "no such device: {error}");
    assert!(PacketSocket::open("nowhere", Filter::Nothing).is_err());
}
