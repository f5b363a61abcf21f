//! `drover plan`

use clap::Subcommand;

use super::{Context, Done, preview, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plan for a goal and show it; nothing is moved.
    Preview(preview::Preview),
    /// Carry out a proposed plan, if it still holds.
    Apply(preview::Apply),
    /// Say in words why a plan is as it is, and why not otherwise.
    Explain(preview::Explain),
    /// Show a plan with its reasons; without an id the newest that was no dry run.
    Show {
        /// Id.
        plan: Option<String>,
    },
    /// List plans, the newest first.
    History,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::Preview(wanted) => preview::preview(context, wanted).await,
        Command::Apply(wanted) => preview::apply(context, wanted).await,
        Command::Explain(wanted) => preview::explain(context, wanted).await,
        Command::Show { plan } => {
            let plan = match plan {
                Some(id) => client.plan(&id).await.map_err(problem)?,
                None => newest(context).await?,
            };
            output::print(context.format, &plan, |_| show::plan(&plan))
        }
        Command::History => {
            let plans = client.plans().await.map_err(problem)?;
            output::print(context.format, &plans, |_| show::plans(&plans))
        }
    }
}

async fn newest(context: &Context) -> Result<drover_api::v1::Plan, drover_api::Problem> {
    let plans = context.client.plans().await.map_err(problem)?;
    plans.into_iter().find(|plan| plan.state != "proposed").ok_or_else(|| {
        drover_api::Problem::new(drover_api::ProblemKind::NotFound, "there is no plan yet")
            .hint("`drover plan history` shows dry runs as well")
    })
}
