//! Hosts that are parked and woken again by each way; and those that are not parked, with the
//! reason.

use std::ops::Range;

use anyhow::{Context as _, ensure};
use drover_lab::bmc::Nic;
use serde_json::Value;

use super::ground::Ground;
use super::sleepers::{
    fails, is_of_use, name_bmc, nothing_speaks_against_a_park, park, part, password_file, power,
    reasons, set, wake, with_bmcs,
};
use super::world::{World, all, text};

/// What a lab host draws, from rest to full load; and what its BMC does while it is off.
const ON_W: Range<f64> = 50.0..260.0;
const OFF_W: Range<f64> = 1.0..20.0;
/// droverd's address, and where agents call.
const CONTROLLER: &str = "10.77.0.100";
const AGENTS_PORT: &str = "7441";
/// A network that no other host is in: h3's address there, and everybody's.
const ALONE: (&str, &str) = ("192.168.7.3/24", "192.168.7.255");
/// Of the card's that asks for one.
const SECURE_ON: &str = "01:02:03:04:05:06";

pub(crate) fn parked_hosts_are_woken_by_each_way(ground: &Ground) -> anyhow::Result<()> {
    ground.beside_with("lpark", with_bmcs, |world| {
        part("reasons of settings", || settings_speak_against_a_park(world))?;
        part("reasons of the network", || the_network_speaks_against_a_park(world))?;
        // Not before: agents that begin anew measure nothing at first.
        world.lab.start_guest("vm1", "h1")?;
        world.lab.start_guest("vm3", "h3")?;
        part("samples", || until_measured(world))?;
        part("reasons of the cluster", || the_cluster_speaks_against_a_park(world))?;
        let took = &mut Vec::new();
        part("Wake-on-LAN", || by_magic_packet(world, took))?;
        part("SecureOn", || by_magic_packet_with_a_password(world, took))?;
        part("IPMI", || by_ipmi_though_nobody_parked_it(world, took))?;
        part("Redfish", || by_redfish(world, took))?;
        part("check-wake", || a_test_parks_and_wakes(world))
    })
}

/// Plans need samples of every host and guest.
fn until_measured(world: &World) -> anyhow::Result<()> {
    world.until("samples", || {
        let hosts = world.json(&["host", "list"])?;
        let guests = world.json(&["guest", "list"])?;
        let two = guests.as_array().is_some_and(|guests| guests.len() == 2);
        Ok(two && all(&hosts, |host| host["cpu_usage_percent"].is_number()))
    })?;
    world.until("samples of the guests", || {
        let found = reasons(world, "h3", &["--untested"])?;
        Ok(found.iter().all(|(reason, _)| reason != "guests"))
    })
}

/// h3 is refused for this reason and no other, as soon as what it is judged by is known: its
/// agent may have to describe it anew, and samples of a busy machine come late.
fn only(world: &World, options: &[&str], reason: &str, part: &str) -> anyhow::Result<()> {
    world.until(reason, || {
        let found = reasons(world, "h3", options)?;
        let [(sort, said)] = found.as_slice() else {
            anyhow::bail!("{reason} was expected, and there are {found:?}")
        };
        ensure!(sort == reason && said.contains(part), "{reason} was expected: {sort}, {said}");
        Ok(true)
    })
}

const UNTESTED: &[&str] = &["--untested"];

fn settings_speak_against_a_park(world: &World) -> anyhow::Result<()> {
    only(world, UNTESTED, "no-wake-method", "nothing is known")?;
    name_bmc(world, "h3", "redfish")?;
    only(world, &[], "untested", "never shown")?;
    // In earnest, too, nothing begins.
    let start = world.now()?;
    let said = fails(world, &["host", "park", "h3", "--wait"])?;
    ensure!(said.contains("never shown") && said.contains("check-wake"), "{said}");
    let told = world.event(start, "host.park_refused")?;
    ensure!(told["detail"]["reasons"] == "untested", "{told}");
    ensure!(world.lab.is_on("h3") && power(world, "h3")?["state"] == "on", "h3 is on its way");
    set(world, "h3", &["--keep-awake"])?;
    only(world, UNTESTED, "keep-awake", "set to stay awake")?;
    set(world, "h3", &["--keep-awake=false"])?;
    world.drover(&["host", "label", "h3", "etcd=m3"])?;
    only(world, UNTESTED, "keep-awake", "quorum")?;
    world.drover(&["host", "label", "h3", "etcd-"])?;
    nothing(world)
}

/// Nothing speaks against it any more.
fn nothing(world: &World) -> anyhow::Result<()> {
    nothing_speaks_against_a_park(world, "h3", UNTESTED)
}

fn the_cluster_speaks_against_a_park(world: &World) -> anyhow::Result<()> {
    let reserve = |option: &str, number: &str| world.drover(&["host", "reserve", option, number]);
    reserve("--min-awake", "3")?;
    only(world, UNTESTED, "min-awake", "2 host(s) would stay awake, and 3 must")?;
    reserve("--min-awake", "1")?;
    // Two that are left could not both be lost, and one could.
    reserve("--survive-failures", "2")?;
    only(world, UNTESTED, "survive-failures", "there is no place for")?;
    reserve("--survive-failures", "1")?;
    nothing(world)?;
    reserve("--survive-failures", "0")?;
    world.drover(&["placement", "create", "stay", "on", "--guest", "vm3", "--host", "h3"])?;
    only(world, UNTESTED, "guests", "1 guest(s) cannot leave it: vm3")?;
    world.drover(&["placement", "delete", "stay"])?;
    nothing(world)
}

fn the_network_speaks_against_a_park(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    // The card that wakes h3 is in a network where nobody else is.
    let (address, broadcast) = ALONE;
    let card = lab.exec("h3", &["cat", "/sys/class/net/up0/address"])?;
    lab.exec("h3", &["ip", "addr", "add", address, "dev", "br0"])?;
    let lonely = ["--method", "wake-on-lan", "--mac", card.trim()];
    set(world, "h3", &lonely)?;
    describes_itself_anew(world)?;
    only(world, UNTESTED, "out-of-reach", "shares a network")?;
    set(world, "h3", &["--broadcast", broadcast])?;
    nothing(world)?;
    set(world, "h3", &["--method", "any", "--mac", "any", "--broadcast", "none"])?;
    lab.exec("h3", &["ip", "addr", "del", address, "dev", "br0"])?;
    // As if droverd ran on h3: the agent's calls come from droverd's own address.
    let from = lab.address("h3")?;
    let calls = ["INPUT", "-p", "tcp", "--dport", AGENTS_PORT, "-s", &from];
    let own = |change: &'static str| {
        let table = ["iptables", "-t", "nat", change];
        let words = [&table[..], &calls, &["-j", "SNAT", "--to-source", CONTROLLER]].concat();
        lab.exec("ctl", &words)
    };
    own("-I")?;
    let told = describes_itself_anew(world)
        .and_then(|()| only(world, UNTESTED, "controller", "this controller runs on it"));
    own("-D")?;
    told?;
    describes_itself_anew(world)?;
    nothing(world)
}

/// The agent of h3 dies, and another one connects.
fn describes_itself_anew(world: &World) -> anyhow::Result<()> {
    let before = world.lab.pid_of("h3", "agent")?;
    world.lab.kill_daemon("h3", "agent")?;
    world.until("another agent", || Ok(world.lab.pid_of("h3", "agent")? != before))?;
    world.until("its hello", || {
        let found = reasons(world, "h3", UNTESTED)?;
        Ok(found.iter().all(|(reason, _)| reason != "not-online"))
    })
}

/// h3 is parked on its BMC's word, woken in this way, and of use again. What it took is learned.
fn sleeps_and_wakes(world: &World, way: &str, took: &mut Vec<f64>) -> anyhow::Result<()> {
    let start = world.now()?;
    park(world, "h3")?;
    let parked = world.event(start, "host.parked")?;
    ensure!(text(&parked, "message").contains("its BMC says that it is off"), "{parked}");
    only(world, UNTESTED, "under-way", "it is parked already")?;
    ensure!(world.lab.is_on("h1") && world.lab.is_on("h2"), "another host is off");
    wake(world, "h3")?;
    woken(world, start, way, took)
}

/// Events and what is learned of a wake of h3 that has ended well.
fn woken(world: &World, start: u64, way: &str, took: &mut Vec<f64>) -> anyhow::Result<()> {
    let waking = world.event(start, "host.waking")?;
    ensure!(text(&waking, "message").contains(&format!(": by {way}, ")), "{waking}");
    let awake = world.event(start, "host.awake")?;
    ensure!(awake["host"] == "h3" && text(&awake, "message").contains("awake after"), "{awake}");
    let power = power(world, "h3")?;
    ensure!(power["last_wake"]["failure"] == Value::Null, "{power}");
    let seconds = power["last_wake"]["seconds"].as_f64().context("no time of the wake")?;
    took.push(seconds);
    let last = &took[took.len().saturating_sub(5)..];
    let mean = last.iter().sum::<f64>() / f64::from(u8::try_from(last.len())?);
    let learned = power["learned_wake_seconds"].as_f64().context("nothing is learned")?;
    ensure!((learned - mean).abs() < 0.01, "{learned} s is learned of {last:?}");
    Ok(())
}

fn by_magic_packet(world: &World, took: &mut Vec<f64>) -> anyhow::Result<()> {
    set(world, "h3", &["--method", "wake-on-lan", "--mac", &world.lab.mac("h3")?])?;
    ensure!(world.home("vm3")? == "h3", "vm3 was to be on h3");
    sleeps_and_wakes(world, "wake_on_lan", took)?;
    let home = world.home("vm3").context("vm3 had to leave")?;
    ensure!(home != "h3", "vm3 is on h3");
    moves(world, "h3")?;
    moves(world, "h2")
}

/// vm3 moves there, once what has just become awake is measured.
fn moves(world: &World, to: &str) -> anyhow::Result<()> {
    let begun = || world.drover(&["guest", "migrate", "vm3", "--to", to]);
    world.until("a move of vm3", || begun().map(|_| true))?;
    ensure!(world.home("vm3")? == to, "vm3 is not on {to}");
    Ok(())
}

fn by_magic_packet_with_a_password(world: &World, took: &mut Vec<f64>) -> anyhow::Result<()> {
    let card = Nic { wakes: true, password: Some(Nic::parse_password(SECURE_ON)?) };
    world.lab.set_nic("h3", &card)?;
    park(world, "h3")?;
    // Without it the card stays deaf.
    set(world, "h3", &["--tries", "2", "--pause", "1s"])?;
    let said = fails(world, &["host", "wake", "h3", "--wait"])?;
    ensure!(said.contains("no sign of life after 2 tries") && !world.lab.is_on("h3"), "{said}");
    let file = password_file(world, SECURE_ON)?;
    set(world, "h3", &["--secure-on-file", file, "--tries", "12", "--pause", "10s"])?;
    let shown = power(world, "h3")?;
    ensure!(shown["settings"]["secure_on_set"] == true, "{shown}");
    ensure!(!shown.to_string().contains(SECURE_ON), "{shown}");
    let start = world.now()?;
    wake(world, "h3")?;
    woken(world, start, "wake_on_lan", took)?;
    world.lab.set_nic("h3", &Nic::default())
}

/// h3 goes off by itself: nobody can park it then, and its BMC wakes it all the same.
fn by_ipmi_though_nobody_parked_it(world: &World, took: &mut Vec<f64>) -> anyhow::Result<()> {
    let lab = &world.lab;
    name_bmc(world, "h3", "ipmi")?;
    set(world, "h3", &["--method", "bmc", "--watts", "bmc"])?;
    draws(world, "ipmi", ON_W)?;
    lab.exec("h3", &["kill", "-s", "RTMIN+4", "1"])?;
    world.until("h3 to be off", || Ok(!lab.is_on("h3")))?;
    draws(world, "ipmi", OFF_W)?;
    world.until("not-online", || {
        let found = reasons(world, "h3", UNTESTED)?;
        Ok(found.len() == 1 && found[0].0 == "not-online")
    })?;
    let start = world.now()?;
    wake(world, "h3")?;
    woken(world, start, "bmc", took)?;
    sleeps_and_wakes(world, "bmc", took)
}

fn by_redfish(world: &World, took: &mut Vec<f64>) -> anyhow::Result<()> {
    name_bmc(world, "h3", "redfish")?;
    draws(world, "redfish", ON_W)?;
    sleeps_and_wakes(world, "bmc", took)
}

/// So much is drawn by the word of a BMC, which droverd asks.
fn draws(world: &World, source: &str, watts: Range<f64>) -> anyhow::Result<()> {
    world.until(&format!("{watts:?} W by {source}"), || {
        let shown = power(world, "h3")?;
        let now = shown["watts"].as_f64().with_context(|| shown.to_string())?;
        Ok(shown["source"] == source && watts.contains(&now))
    })
}

fn a_test_parks_and_wakes(world: &World) -> anyhow::Result<()> {
    moves(world, "h3")?;
    nothing(world)?;
    let start = world.now()?;
    world.drover(&["host", "check-wake", "h3", "--wait"])?;
    is_of_use(world, "h3")?;
    ensure!(world.home("vm3")? != "h3", "vm3 was on a host that was off");
    let parked = world.event(start, "host.parked")?;
    ensure!(text(&parked, "message").contains("its BMC says that it is off"), "{parked}");
    let told = world.event(start, "host.wake_tested")?;
    ensure!(text(&told, "message").contains("h3 can be woken"), "{told}");
    let waking = world.event(start, "host.waking")?;
    ensure!(text(&waking, "message").contains("that was a test"), "{waking}");
    let power = power(world, "h3")?;
    ensure!(power["wake_tested"] == true, "{power}");
    ensure!(power["last_test"]["failure"] == Value::Null, "{power}");
    // From now on it may be parked without another word.
    nothing_speaks_against_a_park(world, "h3", &[])
}
