//! `drover operation`

use clap::Subcommand;

use super::{Context, Done, problem, wait};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List operations, the newest first.
    List,
    /// Show an operation.
    Show {
        /// Id.
        operation: String,
    },
    /// Follow an operation to its end.
    Watch {
        /// Id.
        operation: String,
    },
    /// Cancel an operation.
    Cancel {
        /// Id.
        operation: String,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::List => {
            let operations = client.operations().await.map_err(problem)?;
            output::print(context.format, &operations, |_| show::operations(&operations))
        }
        Command::Show { operation } => {
            let operation = client.operation(&operation).await.map_err(problem)?;
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
        Command::Watch { operation } => wait::follow(context, &operation).await,
        Command::Cancel { operation } => {
            let operation = client.cancel(&operation).await.map_err(problem)?;
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
    }
}
