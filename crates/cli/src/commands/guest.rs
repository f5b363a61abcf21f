//! `drover guest`

use clap::{Args, Subcommand};
use drover_api::v1::MigrateRequest;
use drover_api::{Problem, ProblemKind};

use super::migrate_args::MigrateArgs;
use super::{Context, Done, problem, several, wait};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List guests.
    List,
    /// Show a guest with its newest metrics.
    Show {
        /// Name or id.
        guest: String,
    },
    /// Move guests to other hosts: live while they run, cold when shut off.
    Migrate(Migrate),
    /// Cancel the move of a guest.
    Cancel {
        /// Name or id.
        guest: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Names or ids. Several are moved by one plan, and none of them when one cannot be.
    #[arg(required_unless_present = "from", value_name = "GUEST")]
    pub(super) guests: Vec<String>,
    /// All running guests of this host.
    #[arg(long, value_name = "HOST", conflicts_with = "guests")]
    pub(super) from: Option<String>,
    /// Target host; without it the planner chooses the least loaded feasible one.
    #[arg(long)]
    pub(super) to: Option<String>,
    /// Of several, move those that can be moved.
    #[arg(long)]
    pub(super) skip_refused: bool,
    #[command(flatten)]
    pub(super) options: MigrateArgs,
    /// Your word that the guest's host is off, or cut off from its disks for good: a rescue
    /// needs it. If it is wrong the guest runs twice and its disks are destroyed.
    #[arg(long)]
    pub(super) host_is_dead: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Return at once; `drover operation watch` follows it.
    #[arg(long)]
    pub(super) no_wait: bool,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::List => {
            let guests = client.guests().await.map_err(problem)?;
            output::print(context.format, &guests, |wide| show::guests(&guests, wide))
        }
        Command::Show { guest } => {
            let guest = client.guest(&guest).await.map_err(problem)?;
            output::print(context.format, &guest, |_| show::guest(&guest))
        }
        Command::Migrate(migrate) => self::migrate(context, migrate).await,
        Command::Cancel { guest } => {
            let detail = client.guest(&guest).await.map_err(problem)?;
            let id = detail.guest.operation.ok_or_else(|| {
                Problem::new(ProblemKind::Conflict, format!("nothing is under way for `{guest}`"))
                    .hint("`drover operation list` shows what is and was")
            })?;
            let operation = client.cancel(&id).await.map_err(problem)?;
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
    }
}

async fn migrate(context: &Context, migrate: Migrate) -> Done {
    let [guest] = migrate.guests.as_slice() else {
        return several::migrate(context, migrate).await;
    };
    let guest = guest.clone();
    let request = MigrateRequest {
        to: migrate.to,
        options: migrate.options.options(),
        host_is_dead: migrate.host_is_dead,
        dry_run: migrate.dry_run,
    };
    let response = context.client.migrate(&guest, &request).await.map_err(problem)?;
    match response.operation {
        Some(operation) if !migrate.no_wait => wait::follow(context, &operation.id).await,
        Some(operation) => {
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
        None => output::print(context.format, &response.plan, |_| show::plan(&response.plan)),
    }
}
