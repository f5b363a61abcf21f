//! `drover limit`

use clap::{Args, Subcommand};
use drover_api::v1::Limits;

use super::{Context, Done, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how many migrations may be under way at once, and why.
    Show,
    /// Set how many; what is not named has its default again.
    Set(Set),
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Migrations that leave one host [default: 2].
    #[arg(long, value_name = "N")]
    out_per_host: Option<u32>,
    /// Migrations that come to one host [default: 2].
    #[arg(long, value_name = "N")]
    in_per_host: Option<u32>,
    /// Migrations between the same two hosts [default: 2].
    #[arg(long, value_name = "N")]
    per_link: Option<u32>,
    /// Migrations in the cluster [default: half as many as there are hosts, at least 8].
    #[arg(long, value_name = "N")]
    per_cluster: Option<u32>,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    let limits = match command {
        Command::Show => client.limits().await,
        Command::Set(Set { out_per_host, in_per_host, per_link, per_cluster }) => {
            let limits = Limits { out_per_host, in_per_host, per_link, per_cluster };
            client.set_limits(&limits).await
        }
    };
    let limits = limits.map_err(problem)?;
    output::print(context.format, &limits, |_| show::drain::limits(&limits))
}
