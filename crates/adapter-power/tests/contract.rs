//! IPMI keeps the contract against OpenIPMI's simulator, which is a BMC of its own making.
//!
//! The simulator knows cipher suite 3 and not 17.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use drover_adapter_power::BmcPower;
use drover_model::{BmcAddress, BmcProtocol, BmcTls, PowerReading, PowerSource, PowerState};
use drover_ports::contract::power::PowerRig;
use drover_ports::{Bmc, POWER_TIMEOUT_S, Power, PowerError, Secret, contract};
use tempfile::TempDir;

const PASSWORD: &str = "Kx2-right";
/// A full sensor record: number 1, watts, two a step, `Pwr Consumption`.
const SENSOR: &str = "sensor_add 0x20 0 1 0x0b 0x01 poll 200 file \"DIR/watts\" div=2\n\
    sensor_set_event_support 0x20 0 1 enable scanning per-state 000000000000000 \
    000000000000000 000000000000000 000000000000000\n\
    main_sdr_add 0x20 0 0 0x51 0x01 0x3a 0x20 0 1 7 1 0x67 0x40 0x0b 0x01 0 0 0 0 0 0 0 6 0 0 2 \
    0 0 0 0 0 0 0 0 0 0xff 0 0 0 0 0 0 0 0 0 0 0 0 0xcf 0x50 0x77 0x72 0x20 0x43 0x6f 0x6e 0x73 \
    0x75 0x6d 0x70 0x74 0x69 0x6f 0x6e\n";

/// A simulator with a machine that is a file.
struct Sim {
    dir: TempDir,
    child: Child,
    port: u16,
}

impl Sim {
    async fn start(sensor: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        std::fs::write(at.join("power"), "1").unwrap();
        std::fs::write(at.join("watts"), "138").unwrap();
        std::fs::create_dir(at.join("state")).unwrap();
        let shown = at.display();
        script(
            &at.join("chassis"),
            &format!(
                "#!/bin/sh\ncase \"$1 $2\" in\n\
                 'get power') echo \"power:$(cat {shown}/power)\" ;;\n\
                 'set power') echo \"$3\" > {shown}/power ;;\nesac\n"
            ),
        );
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let conf = format!(
            "name \"bmc\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    \
             priv_limit admin\n    guid a123456789abcdefa123456789000001\n  endlan\n  \
             chassis_control \"{shown}/chassis\"\n  user 1 false \"\" \"\" user 10 none\n  \
             user 2 true \"drover\" \"{PASSWORD}\" operator 10 none md5\n"
        );
        let sensor = if sensor { SENSOR.replace("DIR", &shown.to_string()) } else { String::new() };
        let emulated = format!(
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\n\
             mc_enable 0x20\n{sensor}"
        );
        std::fs::write(at.join("lan.conf"), conf).unwrap();
        std::fs::write(at.join("emu"), emulated).unwrap();
        let child = Command::new("ipmi_sim")
            .args(["-n", "-c", "lan.conf", "-f", "emu", "-s", "state"])
            .current_dir(at)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ipmi_sim is not installed; scripts/setup.sh installs it");
        let sim = Self { dir, child, port };
        for _ in 0..100 {
            if BmcPower::default().state(&sim.bmc()).await.is_ok() {
                return sim;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("ipmi_sim does not answer");
    }

    fn bmc(&self) -> Bmc {
        let address = BmcAddress {
            protocol: BmcProtocol::Ipmi,
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "drover".to_owned(),
            cipher_suite: Some(3),
            system: None,
            tls: BmcTls::System,
        };
        Bmc { address, password: Secret::new(PASSWORD) }
    }

    /// A client that knows nothing of the BMC yet, and a machine that is on.
    async fn rig(&self, measures: bool) -> PowerRig {
        let bmc = self.bmc();
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = self.dir.path().join("power");
        std::fs::write(&path, "1").unwrap();
        PowerRig {
            power: Arc::new(BmcPower::default()),
            nobody: BmcAddress { port: nobody, ..bmc.address.clone() },
            untrusted: None,
            bmc: Bmc { address: BmcAddress { cipher_suite: None, ..bmc.address }, ..bmc },
            measures,
            is_on: Arc::new(move || std::fs::read_to_string(&path).unwrap().trim() == "1"),
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ipmi_keeps_the_contract_by_its_sensor() {
    let sim = Sim::start(true).await;
    contract::power::run(async || sim.rig(true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_without_a_sensor_in_watts_measures_nothing() {
    let sim = Sim::start(false).await;
    let rig = sim.rig(false).await;
    let reading = rig.power.reading(&rig.bmc).await;
    assert!(matches!(reading, Err(PowerError::Refused(_))), "{reading:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_is_read_and_remembered() {
    let sim = Sim::start(true).await;
    let (power, bmc) = (BmcPower::default(), sim.bmc());
    let wanted = PowerReading { watts: 138.0, source: PowerSource::Ipmi, over_s: None };
    for _ in 0..2 {
        assert_eq!(power.reading(&bmc).await, Ok(wanted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_suite_is_not_replaced_by_a_weaker_one() {
    let sim = Sim::start(false).await;
    let mut bmc = sim.bmc();
    bmc.address.cipher_suite = Some(17);
    let state = BmcPower::default().state(&bmc).await;
    assert!(matches!(state, Err(PowerError::Refused(_))), "{state:?}");
}

fn somewhere() -> Bmc {
    let address = BmcAddress {
        protocol: BmcProtocol::Ipmi,
        host: "192.0.2.1".to_owned(),
        port: 623,
        user: "drover".to_owned(),
        cipher_suite: None,
        system: None,
        tls: BmcTls::System,
    };
    Bmc { address, password: Secret::new(PASSWORD) }
}

#[tokio::test]
async fn the_password_is_no_argument() {
    let dir = tempfile::tempdir().unwrap();
    let (tool, shown) = (dir.path().join("ipmitool"), dir.path().display());
    script(
        &tool,
        &format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > {shown}/args\n\
             test \"$IPMI_PASSWORD\" = {PASSWORD} && echo Chassis Power is on\n"
        ),
    );
    let state = BmcPower::with_ipmitool(tool).state(&somewhere()).await;
    assert_eq!(state, Ok(PowerState::On));
    let args = std::fs::read_to_string(dir.path().join("args")).unwrap();
    assert!(args.contains("192.0.2.1") && !args.contains(PASSWORD), "{args}");
}

#[tokio::test]
async fn a_tool_that_hangs_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (tool, file) = (dir.path().join("ipmitool"), dir.path().join("pid"));
    script(&tool, &format!("#!/bin/sh\necho $$ > {}\nexec sleep 600\n", file.display()));
    let asked =
        tokio::spawn(async move { BmcPower::with_ipmitool(tool).state(&somewhere()).await });
    let pid = || std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
    until(|| !pid().is_empty()).await;
    let process = format!("/proc/{}/fd/0", pid());
    assert!(Path::new(&process).exists(), "it does not run");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(POWER_TIMEOUT_S)).await;
    let state = asked.await.unwrap();
    tokio::time::resume();
    assert!(matches!(state, Err(PowerError::Retry(_))), "{state:?}");
    until(|| !Path::new(&process).exists()).await;
}

/// Waits until it holds.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 10 s");
}

#[tokio::test]
async fn a_missing_tool_is_said() {
    let power = BmcPower::with_ipmitool("/nowhere/ipmitool".into());
    let state = power.state(&somewhere()).await;
    assert!(matches!(&state, Err(PowerError::Broken(said)) if said.contains("ipmitool")));
}
