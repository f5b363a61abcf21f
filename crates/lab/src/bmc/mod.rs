//! BMCs of the lab's hosts, and what of a host lives while it is off.
//!
//! One namespace holds the BMCs of all hosts, each with an address of its own in the
//! management network: IPMI by OpenIPMI's `ipmi_sim`, Redfish by sushy-tools. Both switch
//! the host as `power-off` and `power-on` do, and tell what it draws. A worker in that
//! namespace keeps them running, measures, and listens for magic packets at the network
//! cards of hosts that are off.

mod config;
mod meter;
mod nic;
mod switch;
mod worker;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::addresses::{BMCS, Network, number_of};
use crate::lab::{CTL, Lab, LinkState, kill_all_in};
use crate::network;
use crate::tools::{run, start_time, wait_for, write};

pub use nic::Nic;
pub use switch::Chassis;
pub use worker::work;

/// The BMCs as a member.
pub(crate) const BMC: &str = "bmc";
/// Who may log in to every BMC of a lab. It is no secret: a lab is of one machine.
pub const BMC_USER: &str = "drover";
/// That user's password.
pub const BMC_PASSWORD: &str = "lab-bmc";
/// UDP port of IPMI.
pub const IPMI_PORT: u16 = 623;
/// TCP port of Redfish.
pub const REDFISH_PORT: u16 = 443;
/// The BMCs answer within so long: a Python program starts.
const BMCS_UP: Duration = Duration::from_secs(60);

/// The process that keeps the BMCs running.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Worker {
    pid: i32,
    start_time: u64,
    /// It serves so many.
    hosts: u8,
}

impl Lab {
    /// Brings up what is missing of the hosts' BMCs.
    pub(crate) fn start_bmcs(&self) -> anyhow::Result<()> {
        config::check_machine()?;
        network::make_member(&self.spec().name, BMC, BMCS)?;
        for host in self.spec().host_names() {
            let address = self.bmc_address(&host)?;
            self.set_bmc_address("replace", &address)?;
            self.write_bmc_config(&host)?;
        }
        if !self.bmc_worker_lives() {
            // One that serves fewer hosts, or that a killed `up` did not come to write down.
            kill_all_in(&self.namespace(BMC))?;
            self.write_services()?;
            self.start_bmc_worker()?;
        }
        for host in self.spec().host_names() {
            let address = self.bmc_address(&host)?;
            let line = format!(
                "ip netns exec {} curl -sk -m 2 -o /dev/null https://{address}/redfish/v1/",
                self.namespace(BMC)
            );
            wait_for(&format!("the BMC of {host}"), BMCS_UP, || run(&line).is_ok())
                .with_context(|| self.bmc_log())?;
        }
        Ok(())
    }

    /// Where a host's BMC is: IPMI at [`IPMI_PORT`], Redfish at [`REDFISH_PORT`].
    pub fn bmc_address(&self, host: &str) -> anyhow::Result<String> {
        self.known_host(host)?;
        let number = number_of(host).context("a host is called h and a number")?;
        Ok(Network::Management.address(BMCS + number))
    }

    /// SHA-256 of the certificate of a host's Redfish service, hex.
    pub fn bmc_certificate(&self, host: &str) -> anyhow::Result<String> {
        self.known_host(host)?;
        let path = self.bmc_dir(host).join("cert.sha256");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("{host} has no BMC: bring the lab up with --bmc, so that hosts have them")
        })?;
        Ok(text.trim().to_owned())
    }

    /// Takes a host's BMC off the network, or puts it back. Its host does not notice.
    pub fn bmc_link(&self, host: &str, state: LinkState) -> anyhow::Result<()> {
        let address = self.bmc_address(host)?;
        self.bmc_certificate(host)?;
        match state {
            LinkState::Up => self.set_bmc_address("replace", &address),
            LinkState::Down => self.set_bmc_address("del", &address),
        }
    }

    /// Does something in the network of a member, `h1` or `controller`, on a thread of its
    /// own. A panic there is an error here.
    pub fn in_network_of<T: Send>(
        &self,
        member: &str,
        work: impl FnOnce() -> T + Send,
    ) -> anyhow::Result<T> {
        let member = if member == "controller" { CTL } else { member };
        network::inside(&self.namespace(member), work)
    }

    pub(crate) fn bmc_dir(&self, host: &str) -> PathBuf {
        self.spec().dir.join("bmc").join(host)
    }

    fn set_bmc_address(&self, what: &str, address: &str) -> anyhow::Result<()> {
        let namespace = self.namespace(BMC);
        let interface = Network::Management.interface();
        run(&format!("ip -n {namespace} addr {what} {address}/24 dev {interface}")).map(drop)
    }

    fn bmc_worker_lives(&self) -> bool {
        let text = std::fs::read_to_string(self.spec().dir.join("bmc/worker.json"));
        let worker: Option<Worker> = text.ok().and_then(|text| serde_json::from_str(&text).ok());
        worker.is_some_and(|worker| {
            start_time(worker.pid) == Some(worker.start_time) && worker.hosts == self.spec().hosts
        })
    }

    fn start_bmc_worker(&self) -> anyhow::Result<()> {
        let dir = &self.spec().dir;
        let log = std::fs::File::create(dir.join("bmc/worker.log"))?;
        // ip(8) becomes setsid(1), which becomes the worker: one process.
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace(BMC), "setsid"])
            .arg(self.spec().bin_dir.join("drover-lab"))
            .arg("--dir")
            .arg(dir)
            .args(["bmc", "work"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start the BMCs; ip(8) is needed")?;
        let pid = i32::try_from(child.id())?;
        let start_time = start_time(pid).context("the BMCs' worker ended at once")?;
        let worker = Worker { pid, start_time, hosts: self.spec().hosts };
        write(&dir.join("bmc/worker.json"), &serde_json::to_string(&worker)?)
    }

    fn bmc_log(&self) -> String {
        let logs = ["worker.log", "redfish.log"].map(|name| {
            let text = std::fs::read_to_string(self.spec().dir.join("bmc").join(name));
            let text = text.unwrap_or_default();
            text.lines().rev().take(3).collect::<Vec<_>>().join(" | ")
        });
        format!("the BMCs said: {}", logs.join(" | "))
    }

    /// Whether this member is a host that has a BMC.
    pub(crate) fn has_bmc(&self, member: &str) -> bool {
        self.spec().bmc && self.known_host(member).is_ok()
    }
}
