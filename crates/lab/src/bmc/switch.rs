//! The power switch of a host as its BMC, its network card and its own system reach it.
//!
//! A real machine that is off is not dark: its BMC answers, and its network card has link
//! and listens. So the management cable of a host that is off is up, and nothing of it
//! answers: its namespace has no addresses then.

use std::fs::File;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::addresses::{Network, number_of};
use crate::lab::Lab;
use crate::network;
use crate::tools::run;

/// In a host's directory while its network card stands by.
const STANDBY: &str = "standby";

/// What `ipmi_sim` and the Redfish service ask of a chassis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chassis {
    /// Whether it is on.
    Get,
    /// Nothing to do with power.
    Nothing,
    /// Switch it on.
    On,
    /// Cut its power.
    Off,
    /// Both, one after the other.
    Reset,
}

impl Chassis {
    /// From the words that `ipmi_sim` hands over: `get power`, `set power 0`, `set reset 1`.
    pub fn parse(words: &[String]) -> anyhow::Result<Self> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // Some versions name the management controller first.
        let words = match words.as_slice() {
            [first, rest @ ..] if first.starts_with("0x") => rest,
            all => all,
        };
        Ok(match words {
            ["get", "power"] => Self::Get,
            ["set", "power", "1"] => Self::On,
            ["set", "power", "0"] | ["set", "shutdown", _] => Self::Off,
            ["set", "reset", _] => Self::Reset,
            ["get" | "set" | "check", ..] => Self::Nothing,
            _ => bail!("a chassis is told `get power`, `set power 0|1` or `set reset 1`"),
        })
    }
}

impl Lab {
    /// Does it, and returns what is to be printed.
    pub fn chassis(&self, host: &str, what: &Chassis) -> anyhow::Result<String> {
        self.known_host(host)?;
        match what {
            Chassis::Get => return Ok(format!("power:{}", u8::from(self.is_on(host)))),
            Chassis::Nothing => {}
            Chassis::On => self.switch_on(host)?,
            Chassis::Off => self.power_off(host)?,
            Chassis::Reset => {
                self.power_off(host)?;
                self.switch_on(host)?;
            }
        }
        Ok(String::new())
    }

    /// One who switches a host at a time: a command, its BMC or its network card.
    pub(crate) fn hold_switch(&self, host: &str) -> anyhow::Result<File> {
        let path = self.member_dir(host).join("switch.lock");
        std::fs::create_dir_all(self.member_dir(host))?;
        let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
        file.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    }

    /// Switches a host on and returns while it boots.
    pub fn switch_on(&self, host: &str) -> anyhow::Result<()> {
        self.known_host(host)?;
        let _held = self.hold_switch(host)?;
        self.end_standby(host)?;
        for &network in network::cables(host) {
            network::set_link(&self.spec().name, host, network, true)?;
        }
        self.start_member(host)
    }

    /// Its network card has link, and nothing of the host answers. The switch is held.
    pub(crate) fn stand_by(&self, host: &str) -> anyhow::Result<()> {
        let (lab, namespace) = (&self.spec().name, self.namespace(host));
        for network in [Network::Storage, Network::Guest] {
            network::set_link(lab, host, network, false)?;
        }
        for network in [Network::Management, Network::Storage] {
            let interface = network.interface();
            run(&format!("ip -n {namespace} link set {interface} addrgenmode none"))?;
            run(&format!("ip -n {namespace} addr flush dev {interface}"))?;
        }
        let has_link = self.nic(host)?.wakes;
        network::set_link(lab, host, Network::Management, has_link)?;
        crate::tools::write(&self.member_dir(host).join(STANDBY), "")
    }

    pub(crate) fn stands_by(&self, host: &str) -> bool {
        self.member_dir(host).join(STANDBY).exists()
    }

    /// Gives the host its addresses back.
    fn end_standby(&self, host: &str) -> anyhow::Result<()> {
        if !self.stands_by(host) {
            return Ok(());
        }
        let namespace = self.namespace(host);
        for network in [Network::Management, Network::Storage] {
            let interface = network.interface();
            run(&format!("ip -n {namespace} link set {interface} addrgenmode eui64"))?;
        }
        let number = number_of(host).context("a host is called h and a number")?;
        network::make_member(&self.spec().name, host, number)?;
        let _ = std::fs::remove_file(self.member_dir(host).join(STANDBY));
        Ok(())
    }

    /// The Ethernet address of a host's management card: what wakes it.
    pub fn mac(&self, host: &str) -> anyhow::Result<String> {
        self.known_host(host)?;
        let interface = Network::Management.interface();
        let shown = run(&format!("ip -n {} -o link show dev {interface}", self.namespace(host)))?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).map(str::to_owned).with_context(|| format!("{host} has no {interface}"))
    }

    /// A command of this program, for what runs beside it.
    pub(crate) fn own_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.spec().bin_dir.join("drover-lab"));
        command.arg("--dir").arg(&self.spec().dir).args(words);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_bmc_are_read() {
        let parse = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Chassis::parse(&words)
        };
        for (line, wanted) in [
            ("get power", Chassis::Get),
            ("0x20 get power", Chassis::Get),
            ("set power 1", Chassis::On),
            ("set power 0", Chassis::Off),
            ("set reset 1", Chassis::Reset),
            ("get boot", Chassis::Nothing),
            ("check power", Chassis::Nothing),
        ] {
            assert_eq!(parse(line).unwrap(), wanted, "{line}");
        }
        assert!(parse("power off").is_err());
        assert!(parse("").is_err());
    }
}
