//! `drover power`

use clap::Subcommand;

use super::{Context, Done, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the power policy decided last, and the numbers behind it.
    Explain,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    match command {
        Command::Explain => {
            let decision = context.client.power_decision().await.map_err(problem)?;
            output::print(context.format, &decision, |_| show::power_policy::decision(&decision))
        }
    }
}
