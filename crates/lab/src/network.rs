//! Namespaces, bridges and cables.
//!
//! Namespace `LAB-sw` holds the bridges. A member (a host or the controller) has one veth
//! per network; its other end is a port of the bridge, named after the member, so a cable
//! is pulled by setting the port down.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::addresses::{CONTROLLER, Network};
use crate::bmc::BMC;
use crate::storage::STORAGE;
use crate::tools::run;

/// Name of a namespace of this lab.
pub(crate) fn namespace(lab: &str, member: &str) -> String {
    format!("{lab}-{member}")
}

/// Name of the switch port of a member's cable.
fn port(member: &str, network: Network) -> String {
    format!("{member}{}", network.letter())
}

/// Namespaces of this lab that exist.
pub(crate) fn existing(lab: &str) -> Vec<String> {
    let prefix = format!("{lab}-");
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// Does something on a thread of its own that is in a namespace; what it starts is there too.
pub(crate) fn inside<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> T + Send,
) -> anyhow::Result<T> {
    let path = format!("/run/netns/{namespace}");
    let enter = || -> anyhow::Result<()> {
        let file = std::fs::File::open(&path).with_context(|| format!("open {path}"))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("enter {path}"))
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter().map(|()| work()));
        thread.join().unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(anyhow::anyhow!("{}", said.unwrap_or_else(|| "a thread panicked".to_owned())))
        })
    })
}

/// Processes that are in a namespace, as the machine sees them.
pub(crate) fn processes_in(namespace: &str) -> Vec<i32> {
    let listed = run(&format!("ip netns pids {namespace}")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether an interface exists in a namespace.
fn exists(namespace: &str, interface: &str) -> bool {
    run(&format!("ip -n {namespace} link show {interface}")).is_ok()
}

/// Makes the switch, or what is missing of it.
pub(crate) fn make_switch(lab: &str) -> anyhow::Result<()> {
    let switch = namespace(lab, "sw");
    if !existing(lab).contains(&switch) {
        run(&format!("ip netns add {switch}"))?;
    }
    run(&format!("ip -n {switch} link set lo up"))?;
    for network in Network::ALL {
        let bridge = network.bridge();
        if !exists(&switch, bridge) {
            run(&format!("ip -n {switch} link add {bridge} type bridge forward_delay 0"))?;
        }
        run(&format!("ip -n {switch} link set {bridge} up"))?;
    }
    Ok(())
}

/// Makes a member's namespace and plugs in its cables, or what is missing of them. A
/// cable that was pulled stays pulled.
pub(crate) fn make_member(lab: &str, member: &str, number: u8) -> anyhow::Result<()> {
    let own = namespace(lab, member);
    if !existing(lab).contains(&own) {
        run(&format!("ip netns add {own}"))?;
    }
    run(&format!("ip -n {own} link set lo up"))?;
    for &network in cables(member) {
        // The last thing that is made tells that all before it is there.
        let done = if is_bridged(network, number) {
            exists(&own, "br0")
        } else {
            let shown = format!("ip -n {own} -o addr show dev {}", network.interface());
            run(&shown).is_ok_and(|text| text.contains(&network.address(number)))
        };
        if !done {
            plug_in(lab, member, network, number)?;
        }
    }
    Ok(())
}

/// The networks that a member is plugged in to.
pub(crate) fn cables(member: &str) -> &'static [Network] {
    match member {
        STORAGE => &[Network::Storage],
        BMC => &[Network::Management],
        _ => &Network::ALL,
    }
}

/// A host's guest network is a bridge; the controller is a plain member of it.
fn is_bridged(network: Network, number: u8) -> bool {
    network == Network::Guest && number != CONTROLLER
}

fn plug_in(lab: &str, member: &str, network: Network, number: u8) -> anyhow::Result<()> {
    let (own, switch) = (namespace(lab, member), namespace(lab, "sw"));
    let (inside, port) = (network.interface(), port(member, network));
    if !exists(&own, inside) {
        run(&format!("ip -n {own} link add {inside} type veth peer name {port} netns {switch}"))?;
    }
    run(&format!("ip -n {switch} link set {port} master {} up", network.bridge()))?;
    run(&format!("ip -n {own} link set {inside} up"))?;
    if is_bridged(network, number) {
        run(&format!("ip -n {own} link add br0 type bridge forward_delay 0"))?;
        run(&format!("ip -n {own} link set {inside} master br0"))?;
        run(&format!("ip -n {own} link set br0 up")).map(drop)
    } else {
        let address = network.address(number);
        run(&format!("ip -n {own} addr add {address}/24 dev {inside}")).map(drop)
    }
}

/// Pulls or plugs in one cable of a member.
pub(crate) fn set_link(lab: &str, member: &str, network: Network, up: bool) -> anyhow::Result<()> {
    let (switch, port) = (namespace(lab, "sw"), port(member, network));
    let state = if up { "up" } else { "down" };
    run(&format!("ip -n {switch} link set {port} {state}")).map(drop)
}

/// Removes every namespace of the lab; veths and bridges go with them.
pub(crate) fn remove_all(lab: &str) -> anyhow::Result<()> {
    for name in existing(lab) {
        run(&format!("ip netns del {name}"))?;
    }
    Ok(())
}
