//! `drover operation`

use clap::Subcommand;
use drover_api::v1::Operation;
use drover_api::{Problem, ProblemKind};

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
    }
}

async fn newest(context: &Context) -> Result<Operation, Problem> {
    let operations = context.client.operations().await.map_err(problem)?;
    operations.into_iter().next().ok_or_else(|| {
        Problem::new(ProblemKind::NotFound, "there is no operation yet")
            .hint("`drover guest migrate` makes one")
    })
}
