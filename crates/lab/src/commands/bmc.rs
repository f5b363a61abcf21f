//! `drover-lab bmc …`: the hosts' BMCs and network cards.

use std::process::ExitCode;

use anyhow::ensure;
use clap::Subcommand;
use drover_lab::bmc::{BMC_PASSWORD, BMC_USER, Chassis, IPMI_PORT, Nic, REDFISH_PORT, work};
use drover_lab::{Lab, LinkState};

use super::UpDown;

#[derive(Debug, Subcommand)]
pub(super) enum BmcCommand {
    /// Show where the BMCs are and how to log in.
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a host's BMC off the network, or put it back.
    Link {
        /// The host.
        host: String,
        /// `up` or `down`.
        state: UpDown,
    },
    /// Set up a host's network card for Wake-on-LAN.
    Nic {
        /// The host.
        host: String,
        /// The card is dead while the host is off: nothing wakes it.
        #[arg(long)]
        dead: bool,
        /// SecureOn password that a magic packet must end with, e.g. 01:02:03:04:05:06.
        #[arg(long, conflicts_with = "dead")]
        password: Option<String>,
    },
    #[command(hide = true)]
    Chassis { host: String, words: Vec<String> },
    #[command(hide = true)]
    Work,
}

pub(super) fn run(lab: &Lab, command: BmcCommand) -> anyhow::Result<ExitCode> {
    match command {
        BmcCommand::Show { json } => show(lab, json)?,
        BmcCommand::Link { host, state } => {
            let up = matches!(state, UpDown::Up);
            lab.bmc_link(&host, if up { LinkState::Up } else { LinkState::Down })?;
        }
        BmcCommand::Nic { host, dead, password } => {
            let password = password.as_deref().map(Nic::parse_password).transpose()?;
            lab.set_nic(&host, &Nic { wakes: !dead, password })?;
        }
        BmcCommand::Chassis { host, words } => {
            println!("{}", lab.chassis(&host, &Chassis::parse(&words)?)?);
        }
        BmcCommand::Work => work(lab)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(lab: &Lab, json: bool) -> anyhow::Result<()> {
    ensure!(lab.spec().bmc, "this lab has no BMCs; `drover-lab up --bmc` gives each host one");
    let mut all = Vec::new();
    for host in lab.spec().host_names() {
        all.push(serde_json::json!({
            "address": lab.bmc_address(&host)?,
            "ipmi_port": IPMI_PORT,
            "redfish_port": REDFISH_PORT,
            "user": BMC_USER,
            "password": BMC_PASSWORD,
            "certificate_sha256": lab.bmc_certificate(&host)?,
            "mac": lab.mac(&host)?,
            "nic_wakes": lab.nic(&host)?.wakes,
            "host": host,
        }));
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!(
        "user {BMC_USER}, password {BMC_PASSWORD}, IPMI at {IPMI_PORT}, Redfish at {REDFISH_PORT}"
    );
    println!("{:<6} {:<12} {:<18} CERTIFICATE (SHA-256)", "HOST", "BMC", "WAKES BY");
    for bmc in all {
        let text = |name: &str| bmc[name].as_str().unwrap_or_default().to_owned();
        let mac = if bmc["nic_wakes"] == true { text("mac") } else { "nothing".to_owned() };
        let (host, address) = (text("host"), text("address"));
        println!("{host:<6} {address:<12} {mac:<18} {}", text("certificate_sha256"));
    }
    Ok(())
}
