//! `drover guest`

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use drover_api::v1::{CheckQuery, MigrateRequest, SetGuestPolicy};
use drover_api::{Problem, ProblemKind};

use super::amounts::millis;
use super::migrate_args::{CheckArgs, MigrateArgs};
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
    /// Check which hosts a guest could go to, and why not; with --to, a no is exit code 6.
    Check(Check),
    /// Move guests to other hosts: live while they run, cold when shut off.
    Migrate(Migrate),
    /// List the moves of a guest: what each took, and how far its forecast was off.
    History {
        /// Name or id.
        guest: String,
    },
    /// Show how a guest may be moved.
    Policy {
        /// Name or id.
        guest: String,
    },
    /// Say how a guest may be moved; what is not named stays as it is.
    Set(Set),
    /// Forget what was set: it may be moved as every guest again.
    Unset {
        /// Name or id.
        guest: String,
    },
    /// Cancel the move of a guest.
    Cancel {
        /// Name or id.
        guest: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Name or id.
    guest: String,
    /// Only this host.
    #[arg(long)]
    to: Option<String>,
    #[command(flatten)]
    how: CheckArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).args(["guests", "from"]))]
pub(crate) struct Migrate {
    /// Names or ids. Several are moved live by one plan, and none of them when one cannot be.
    #[arg(value_name = "GUEST")]
    pub(super) guests: Vec<String>,
    /// All running guests of this host.
    #[arg(long, value_name = "HOST")]
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

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Wanted {
    /// Longest pause of a live move, e.g. `500ms`; 1s at first. A move begins with 300 ms at
    /// most and gets more only where it does not end otherwise.
    #[arg(long, value_parser = millis)]
    max_downtime: Option<u64>,
    /// Slow it down where it writes faster than it is sent; `off` forbids it.
    #[arg(long)]
    auto_converge: Option<Switch>,
    /// Let it run on the target before its memory is there where nothing else ends the
    /// transfer; `off` forbids it.
    #[arg(long)]
    post_copy: Option<Switch>,
    /// Guests of a higher priority are moved first.
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Measure the blackout of its moves with a probe.
    #[arg(long)]
    probe: Option<Switch>,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Name or id.
    guest: String,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Set {
    fn wanted(&self) -> SetGuestPolicy {
        let on = |switch: Option<Switch>| switch.map(|switch| switch == Switch::On);
        SetGuestPolicy {
            max_downtime_ms: self.wanted.max_downtime,
            auto_converge: on(self.wanted.auto_converge),
            post_copy: on(self.wanted.post_copy),
            priority: self.wanted.priority,
            probe: on(self.wanted.probe),
        }
    }
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
        Command::Check(asked) => check(context, asked).await,
        Command::Migrate(migrate) => self::migrate(context, migrate).await,
        Command::History { guest } => {
            let moves = client.guest_history(&guest).await.map_err(problem)?;
            output::print(context.format, &moves, |_| show::forecast::history(&moves))
        }
        Command::Policy { guest } => {
            let policy = client.guest_policy(&guest).await.map_err(problem)?;
            output::print(context.format, &policy, |_| show::forecast::policy(&policy))
        }
        Command::Set(set) => {
            let policy = client.set_guest_policy(&set.guest, &set.wanted()).await;
            let policy = policy.map_err(problem)?;
            output::print(context.format, &policy, |_| show::forecast::policy(&policy))
        }
        Command::Unset { guest } => {
            client.unset_guest_policy(&guest).await.map_err(problem)?;
            let policy = client.guest_policy(&guest).await.map_err(problem)?;
            output::print(context.format, &policy, |_| show::forecast::policy(&policy))
        }
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

async fn check(context: &Context, asked: Check) -> Done {
    let one = asked.to.is_some();
    let query = CheckQuery { to: asked.to, ..asked.how.query() };
    let checked = context.client.check(&asked.guest, &query).await.map_err(problem)?;
    output::print(context.format, &checked, |_| show::check::matrix(&checked))?;
    match checked.targets.first().filter(|target| one && !target.allowed) {
        None => Ok(()),
        Some(target) => {
            let detail = format!("{} cannot go to {}", checked.guest, target.host);
            let hint = "every cause above that blocks has its cure beside it";
            Err(Problem::new(ProblemKind::Refused, detail).hint(hint))
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
    let warnings = response.warnings.iter().map(|finding| (guest.as_str(), finding));
    let warnings = show::check::warnings(warnings);
    let begins = response.operation.is_some() && context.format.is_for_people();
    if begins && !warnings.is_empty() {
        output::out(warnings.trim());
    }
    match response.operation {
        Some(operation) if !migrate.no_wait => wait::follow(context, &operation.id).await,
        Some(operation) => {
            output::print(context.format, &operation, |_| show::operation(&operation))
        }
        None => output::print(context.format, &response, |_| {
            let expected = response.forecast.as_ref().map(show::forecast::forecast);
            let expected = expected.map_or_else(String::new, |text| format!("\nforecast: {text}"));
            format!("{}{expected}{warnings}", show::plan(&response.plan))
        }),
    }
}
