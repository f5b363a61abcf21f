//! `drover operation`

use clap::{Args, Subcommand};
use drover_api::v1::{AdjustRequest, Operation};
use drover_api::{Problem, ProblemKind};

use super::amounts::{mib_per_s, millis};
use super::{Context, Done, problem, wait};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List operations, the newest first.
    List,
    /// Show an operation; without an id the newest.
    Show {
        /// Id.
        operation: Option<String>,
    },
    /// Follow an operation to its end; without an id the newest.
    Watch {
        /// Id.
        operation: Option<String>,
    },
    /// Cancel an operation.
    Cancel {
        /// Id.
        operation: String,
    },
    /// Change a live migration that is under way.
    Set(Set),
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Id.
    operation: String,
    #[command(flatten)]
    wanted: Wanted,
}

/// At least one of them: a command that changes nothing is a mistake.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Wanted {
    /// Longest pause that QEMU may plan for the switch-over, e.g. 1s.
    #[arg(long, value_parser = millis)]
    max_downtime: Option<u64>,
    /// Cap on the transfer, e.g. 100MiB/s.
    #[arg(long, value_parser = mib_per_s, conflicts_with = "no_bandwidth_cap")]
    max_bandwidth: Option<u64>,
    /// Lift the cap on the transfer.
    #[arg(long)]
    no_bandwidth_cap: bool,
    /// Let the guest run on the target now; what is missing of its memory follows. A host or
    /// network that fails meanwhile can cost the guest its memory.
    #[arg(long)]
    post_copy_now: bool,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::List => {
            let operations = client.operations().await.map_err(problem)?;
            output::print(context.format, &operations, |_| show::operations(&operations))
        }
        Command::Show { operation } => {
            let operation = match operation {
                Some(id) => client.operation(&id).await.map_err(problem)?,
                None => newest(context).await?,
            };
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
        Command::Watch { operation } => {
            let id = match operation {
                Some(id) => id,
                None => newest(context).await?.id,
            };
            wait::follow(context, &id).await
        }
        Command::Cancel { operation } => {
            let operation = client.cancel(&operation).await.map_err(problem)?;
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
        Command::Set(set) => {
            let request = AdjustRequest {
                max_downtime_ms: set.wanted.max_downtime,
                max_bandwidth_mib_s: set.wanted.max_bandwidth,
                no_bandwidth_cap: set.wanted.no_bandwidth_cap,
                post_copy_now: set.wanted.post_copy_now,
            };
            let operation = client.adjust(&set.operation, &request).await.map_err(problem)?;
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
    }
}

async fn newest(context: &Context) -> Result<Operation, Problem> {
    let operations = context.client.operations().await.map_err(problem)?;
    operations.into_iter().next().ok_or_else(|| {
        Problem::new(ProblemKind::NotFound, "there is no operation yet")
            .hint("`drover guest migrate` makes one")
    })
}
