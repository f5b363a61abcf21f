//! `drover guest`

use clap::{Args, Subcommand};
use drover_api::v1::MigrateRequest;
use drover_api::{Problem, ProblemKind};

use super::{Context, Done, problem, wait};
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
    /// Move a running guest to another host, live.
    Migrate(Migrate),
    /// Cancel the move of a guest.
    Cancel {
        /// Name or id.
        guest: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Name or id.
    guest: String,
    /// Target host; without it the planner chooses the least loaded feasible one.
    #[arg(long)]
    to: Option<String>,
    /// Longest pause that QEMU may plan for the switch-over, e.g. 300ms.
    #[arg(long, value_parser = millis)]
    max_downtime: Option<u64>,
    /// Cap on the transfer, e.g. 100MiB/s.
    #[arg(long, value_parser = mib_per_s)]
    max_bandwidth: Option<u64>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Return at once; `drover operation watch` follows it.
    #[arg(long)]
    no_wait: bool,
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
    let request = MigrateRequest {
        to: migrate.to,
        max_downtime_ms: migrate.max_downtime,
        max_bandwidth_mib_s: migrate.max_bandwidth,
        dry_run: migrate.dry_run,
    };
    let response = context.client.migrate(&migrate.guest, &request).await.map_err(problem)?;
    match response.operation {
        Some(operation) if !migrate.no_wait => wait::follow(context, &operation.id).await,
        Some(operation) => {
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
        None => output::print(context.format, &response.plan, |_| show::plan(&response.plan)),
    }
}

fn millis(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a time such as 300ms or 2s");
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1.0),
        (None, Some(number)) => (number, 1000.0),
        (None, None) => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    if (0.001..=2e6).contains(&number) { Ok((number * factor) as u64) } else { Err(wrong()) }
}

fn mib_per_s(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a rate such as 100MiB/s");
    let number = text.trim_end_matches("/s").strip_suffix("MiB").ok_or_else(wrong)?;
    number.trim().parse().ok().filter(|number| *number > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_read() {
        assert_eq!(millis("300ms"), Ok(300));
        assert_eq!(millis("1.5s"), Ok(1500));
        assert!(millis("300").is_err());
        assert_eq!(mib_per_s("100MiB/s"), Ok(100));
        assert_eq!(mib_per_s("20MiB"), Ok(20));
        assert!(mib_per_s("0MiB/s").is_err());
    }
}
