//! Hosts that are switched, measured and woken from outside: by real IPMI, by a Redfish
//! service that is not ours, and by magic packets.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use drover_adapter_power::BmcPower;
use drover_lab::bmc::{BMC_PASSWORD, BMC_USER, IPMI_PORT, Nic, REDFISH_PORT};
use drover_lab::{Lab, LabSpec, LinkState, Network};
use drover_model::{
    BmcAddress, BmcProtocol, BmcTls, MacAddress, MagicPacket, PowerSource, PowerState, SecureOn,
};
use drover_ports::contract::power::PowerRig;
use drover_ports::{Bmc, POWER_TIMEOUT_S, Power, PowerError, Secret, contract};

use super::ground::Ground;
use super::world::{World, items, text};

/// An address of the management network that nobody has.
const NOBODY: &str = "10.77.0.250";
/// A packet that does not wake a host has not done so after this long.
const STAYS_OFF: Duration = Duration::from_secs(2);

/// A host draws less when nothing but its daemons runs.
const REST_W: f64 = 130.0;
/// Busy loops let a host draw so much more, though the machine has other work to do.
const RISE_W: f64 = 15.0;
/// They last so long, seconds.
const LOOPS_S: u32 = 10;

/// A host's BMC, with the right password.
fn bmc(lab: &Lab, host: &str, protocol: BmcProtocol) -> anyhow::Result<Bmc> {
    let address = BmcAddress {
        protocol,
        host: lab.bmc_address(host)?,
        port: if protocol == BmcProtocol::Ipmi { IPMI_PORT } else { REDFISH_PORT },
        user: BMC_USER.to_owned(),
        cipher_suite: None,
        system: None,
        tls: BmcTls::Pinned { sha256: lab.bmc_certificate(host)? },
    };
    Ok(Bmc { address, password: Secret::new(BMC_PASSWORD) })
}

/// Does it as the controller would: in its network.
fn at_controller<T: Send>(
    lab: &Lab,
    work: impl AsyncFnOnce(Arc<BmcPower>) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    lab.in_network_of("controller", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work(Arc::new(BmcPower::default())))
    })?
}

fn with_bmcs(spec: LabSpec, hosts: u8) -> LabSpec {
    LabSpec { hosts, bmc: true, bare: true, ..spec }
}

pub(crate) fn bmcs_keep_the_contract(ground: &Ground) -> anyhow::Result<()> {
    ground.beside_with(
        "lbmc",
        |spec| with_bmcs(spec, 2),
        |world| {
            let lab = &world.lab;
            for (host, protocol) in [("h1", BmcProtocol::Ipmi), ("h2", BmcProtocol::Redfish)] {
                let of_host = bmc(lab, host, protocol)?;
                keeps_the_contract(lab, host, &of_host)
                    .with_context(|| format!("{} of {host}", protocol.as_str()))?;
            }
            every_host_is_measured(lab)?;
            a_certificate_that_is_not_trusted_is_named(lab)
        },
    )
}

fn keeps_the_contract(lab: &Lab, host: &str, bmc: &Bmc) -> anyhow::Result<()> {
    at_controller(lab, async |power| {
        contract::power::run(async || {
            // A panic is this story's failure and says what went wrong.
            lab.switch_on(host).unwrap();
            let (lab, host) = (lab.clone(), host.to_owned());
            PowerRig {
                power: Arc::clone(&power) as Arc<dyn Power>,
                bmc: bmc.clone(),
                nobody: BmcAddress { host: NOBODY.to_owned(), ..bmc.address.clone() },
                untrusted: (bmc.address.protocol == BmcProtocol::Redfish).then(|| {
                    let tls = BmcTls::Pinned { sha256: "ab".repeat(32) };
                    BmcAddress { tls, ..bmc.address.clone() }
                }),
                measures: true,
                is_on: Arc::new(move || lab.is_on(&host)),
            }
        })
        .await;
        Ok(())
    })
}

/// By DCMI and by a sensor, by EnvironmentMetrics and by the older Power resource.
fn every_host_is_measured(lab: &Lab) -> anyhow::Result<()> {
    for (host, protocol) in [
        ("h1", BmcProtocol::Ipmi),
        ("h2", BmcProtocol::Ipmi),
        ("h1", BmcProtocol::Redfish),
        ("h2", BmcProtocol::Redfish),
    ] {
        let bmc = bmc(lab, host, protocol)?;
        let reading = at_controller(lab, async |power| Ok(power.reading(&bmc).await))??;
        let source = match protocol {
            BmcProtocol::Ipmi => PowerSource::Ipmi,
            BmcProtocol::Redfish => PowerSource::Redfish,
        };
        ensure!(reading.source == source, "{host}: {reading:?}");
        ensure!((5.0..=300.0).contains(&reading.watts), "{host}: {reading:?}");
    }
    Ok(())
}

fn a_certificate_that_is_not_trusted_is_named(lab: &Lab) -> anyhow::Result<()> {
    // As droverd does; another may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut bmc = bmc(lab, "h1", BmcProtocol::Redfish)?;
    for tls in [BmcTls::Pinned { sha256: lab.bmc_certificate("h2")? }, BmcTls::System] {
        bmc.address.tls = tls;
        let state = at_controller(lab, async |power| Ok(power.state(&bmc).await))?;
        let named = matches!(state, Err(PowerError::Untrusted(_)));
        ensure!(named, "{:?}: {state:?}", bmc.address.tls);
    }
    Ok(())
}

pub(crate) fn a_magic_packet_wakes_its_host_and_no_other(ground: &Ground) -> anyhow::Result<()> {
    ground.beside_with(
        "lwol",
        |spec| with_bmcs(spec, 3),
        |world| {
            let lab = &world.lab;
            for host in ["h2", "h3"] {
                lab.power_off(host)?;
            }
            send(lab, &packet("52:54:00:77:77:77", None)?)?;
            stay_off(lab, &["h2", "h3"])?;
            send(lab, &packet(&lab.mac("h3")?, None)?)?;
            world.until("h3 awake", || Ok(lab.is_on("h3")))?;
            stay_off(lab, &["h2"])?;
            world.until("libvirtd of h3", || Ok(lab.virsh("h3", &["version"]).is_ok()))?;
            what_keeps_a_host_asleep(world)
        },
    )
}

/// A dead card, a cable that is out, a password; each time h2 sleeps and is well otherwise.
fn what_keeps_a_host_asleep(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    let magic = packet(&lab.mac("h2")?, None)?;
    lab.set_nic("h2", &Nic { wakes: false, password: None })?;
    send(lab, &magic)?;
    stay_off(lab, &["h2"])?;
    lab.set_nic("h2", &Nic::default())?;
    lab.link("h2", Network::Management, LinkState::Down)?;
    send(lab, &magic)?;
    stay_off(lab, &["h2"])?;
    lab.link("h2", Network::Management, LinkState::Up)?;
    let password = "01:02:03:04:05:06";
    lab.set_nic("h2", &Nic { wakes: true, password: Some(Nic::parse_password(password)?) })?;
    send(lab, &magic)?;
    stay_off(lab, &["h2"])?;
    send(lab, &packet(&lab.mac("h2")?, Some(password))?)?;
    world.until("h2 awake", || Ok(lab.is_on("h2")))
}

fn packet(mac: &str, password: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mac: MacAddress = mac.parse()?;
    let secure_on = password.map(|text| SecureOn::parse(text).context("a password")).transpose()?;
    Ok(MagicPacket { mac, secure_on }.bytes())
}

/// From a neighbour, to all of the management network.
fn send(lab: &Lab, packet: &[u8]) -> anyhow::Result<()> {
    lab.in_network_of("h1", || -> anyhow::Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_broadcast(true)?;
        socket.send_to(packet, "10.77.0.255:9")?;
        Ok(())
    })?
}

fn stay_off(lab: &Lab, hosts: &[&str]) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < STAYS_OFF {
        for host in hosts {
            ensure!(!lab.is_on(host), "{host} was woken");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

pub(crate) fn a_host_that_its_bmc_switches(ground: &Ground) -> anyhow::Result<()> {
    ground.beside_with(
        "lcycle",
        |spec| LabSpec { bare: false, ..with_bmcs(spec, 2) },
        |world| {
            let lab = &world.lab;
            lab.start_guest("vm1", "h2")?;
            let h2 = bmc(lab, "h2", BmcProtocol::Ipmi)?;
            let call = |to: PowerState| {
                at_controller(lab, async |power| {
                    match to {
                        PowerState::On => power.switch_on(&h2).await?,
                        PowerState::Off => power.switch_off(&h2).await?,
                    }
                    Ok(())
                })
            };
            ensure!(state_of(world, "h2")? == "online", "h2 is {}", state_of(world, "h2")?);
            call(PowerState::Off)?;
            ensure!(!lab.is_on("h2"), "h2 runs, and its BMC has switched it off");
            ensure!(lab.exec("h2", &["true"]).is_err(), "something of h2 runs");
            ensure!(!answers(lab, "h2"), "a host that is off answers");
            world.until("droverd misses h2", || Ok(state_of(world, "h2")? != "online"))?;
            let watts = at_controller(lab, async |power| Ok(power.reading(&h2).await))??.watts;
            world
                .until("standby watts", || {
                    let reading = at_controller(lab, async |power| Ok(power.reading(&h2).await))??;
                    Ok(reading.watts < 20.0)
                })
                .with_context(|| format!("at first {watts} W"))?;
            call(PowerState::On)?;
            // Nobody but its power switch was touched.
            world.until("h2 is online again", || Ok(state_of(world, "h2")? == "online"))?;
            ensure!(answers(lab, "h2"), "h2 has no address");
            its_watts_follow_its_load(world)?;
            a_bmc_that_is_cut_off_is_to_be_asked_again(world)
        },
    )
}

fn state_of(world: &World, host: &str) -> anyhow::Result<String> {
    let hosts = world.json(&["host", "list"])?;
    let found = items(&hosts).iter().find(|item| text(item, "name") == host);
    Ok(text(found.context("droverd does not know it")?, "state").to_owned())
}

fn answers(lab: &Lab, host: &str) -> bool {
    let address = lab.address(host).unwrap_or_default();
    lab.exec("controller", &["ping", "-c", "1", "-W", "1", &address]).is_ok()
}

fn its_watts_follow_its_load(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    let h2 = bmc(lab, "h2", BmcProtocol::Redfish)?;
    let watts = || -> anyhow::Result<f64> {
        Ok(at_controller(lab, async |power| Ok(power.reading(&h2).await))??.watts)
    };
    world.until("h2 at rest", || Ok((20.0..REST_W).contains(&watts()?)))?;
    let rest = watts()?;
    // Several loops, each a session: other work on the machine leaves little for one.
    let loop_once = format!("setsid timeout {LOOPS_S} sh -c 'while :; do :; done' &");
    let loops = format!("for i in 1 2 3 4; do {loop_once} done; wait");
    let mut busy = lab.command("h2", "sh")?.args(["-c", &loops]).spawn()?;
    let mut most = 0.0_f64;
    while busy.try_wait()?.is_none() {
        most = most.max(watts()?);
        std::thread::sleep(Duration::from_millis(300));
    }
    ensure!(most > rest + RISE_W, "{rest} W at rest, {most} W under load");
    Ok(())
}

fn a_bmc_that_is_cut_off_is_to_be_asked_again(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    for protocol in [BmcProtocol::Ipmi, BmcProtocol::Redfish] {
        let h1 = bmc(lab, "h1", protocol)?;
        let state = || at_controller(lab, async |power| Ok(power.state(&h1).await));
        ensure!(state()? == Ok(PowerState::On), "{protocol:?}: {:?}", state()?);
        lab.bmc_link("h1", LinkState::Down)?;
        let begun = Instant::now();
        let cut = state();
        lab.bmc_link("h1", LinkState::Up)?;
        let cut = cut?;
        ensure!(matches!(cut, Err(PowerError::Retry(_))), "{protocol:?}: {cut:?}");
        let limit = Duration::from_secs(POWER_TIMEOUT_S + 2);
        ensure!(begun.elapsed() < limit, "it took {:?}", begun.elapsed());
        ensure!(lab.is_on("h1"), "its host has noticed");
        world.until("the BMC again", || Ok(state()? == Ok(PowerState::On)))?;
    }
    Ok(())
}
