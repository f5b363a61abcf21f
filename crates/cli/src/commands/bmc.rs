//! `drover host bmc`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use drover_api::v1::SetBmc;

use super::{Context, Done, done, problem, secret};
use crate::{output, show};

/// See [`super::host::Command::Bmc`].
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Name a host's BMC, everything anew. The password comes from --password-file, `DROVER_BMC_PASSWORD`, a prompt
    /// or standard input; it is kept sealed and never shown.
    Set(Set),
    /// Show a host's BMC, without its password.
    Show {
        /// Name or id.
        host: String,
    },
    /// Forget a host's BMC and its password.
    Remove {
        /// Name or id.
        host: String,
    },
}

/// See [`Command::Set`].
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Name or id.
    host: String,
    /// How it is spoken to.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// IP address or name of the BMC.
    #[arg(long)]
    address: String,
    /// Default 623 (IPMI, UDP) or 443 (Redfish, TCP).
    #[arg(long)]
    port: Option<u16>,
    /// Who logs in.
    #[arg(long)]
    user: String,
    /// File that holds nothing but the password; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Leave the password as it is; only at the same address.
    #[arg(long, conflicts_with = "password_file")]
    keep_password: bool,
    /// IPMI: cipher suite; default 17, and 3 where the BMC does not know it.
    #[arg(long)]
    cipher_suite: Option<u8>,
    /// Redfish: which of the service's systems, where it has several.
    #[arg(long)]
    system: Option<String>,
    /// Redfish: trust this certificate and no other, by its SHA-256 (64 hex digits);
    /// docs/guide/bmc.md tells how to read it.
    #[arg(long, value_name = "SHA256", conflicts_with = "plain")]
    tls_pin: Option<String>,
    /// Redfish: plain HTTP; the password is readable on the network.
    #[arg(long)]
    plain: bool,
}

/// How a BMC is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// IPMI 2.0 over LAN.
    Ipmi,
    /// Redfish over HTTPS.
    Redfish,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::Set(set) => {
            let password = if set.keep_password {
                None
            } else {
                let file = set.password_file.as_deref();
                Some(secret::read(file, "DROVER_BMC_PASSWORD", "Password of the BMC")?)
            };
            let wanted = SetBmc {
                protocol: match set.protocol {
                    Protocol::Ipmi => "ipmi",
                    Protocol::Redfish => "redfish",
                }
                .to_owned(),
                address: set.address,
                port: set.port,
                user: set.user,
                password,
                cipher_suite: set.cipher_suite,
                system: set.system,
                tls_pin: set.tls_pin,
                plain: set.plain,
            };
            let bmc = client.set_bmc(&set.host, &wanted).await.map_err(problem)?;
            output::print(context.format, &bmc, |_| show::power::bmc(&bmc))
        }
        Command::Show { host } => {
            let bmc = client.bmc(&host).await.map_err(problem)?;
            output::print(context.format, &bmc, |_| show::power::bmc(&bmc))
        }
        Command::Remove { host } => {
            client.remove_bmc(&host).await.map_err(problem)?;
            done(context, &format!("the BMC of {host} is forgotten"))
        }
    }
}
