//! `drover policy`

use clap::{Args, Subcommand};
use drover_api::v1::{SetBalance, SetPower, SetPowerCap};

use super::{Context, Done, done, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a policy stand, or change it: what is not named has its default again.
    #[command(subcommand)]
    Set(Set),
    /// Show the standing policies.
    Show,
    /// End a policy.
    #[command(subcommand)]
    Unset(Unset),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Set {
    /// Keep the load of all hosts even.
    Balance(Balance),
    /// Cap what a group of hosts draws together.
    PowerCap(PowerCap),
    /// Park hosts that are not needed, and wake them before they are.
    Power(Power),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Unset {
    /// No longer keep the load even.
    Balance,
    /// No longer park and wake hosts; what sleeps stays asleep.
    Power,
    /// End a power cap.
    PowerCap {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PowerCap {
    /// Unique name; the same name again changes the cap.
    name: String,
    /// `label=rack:1` for all hosts with this label, or a host; repeatable.
    #[arg(long, required = true, value_name = "label=LABEL:VALUE|HOST")]
    hosts: Vec<String>,
    /// The most that the hosts may draw together.
    #[arg(long)]
    watts: f64,
    /// Window over which their draw is averaged.
    #[arg(long, default_value = "1m")]
    window: String,
    /// Most moves of one plan.
    #[arg(long, value_name = "N", default_value_t = 4)]
    max_moves: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Balance {
    /// 1 only repairs broken placement rules, 3 makes moves that clearly pay, 5 every move
    /// that improves the balance.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5))]
    level: u8,
    /// How often, and the window over which loads are averaged.
    #[arg(long)]
    interval: String,
    /// Nothing for so long after the last move, whoever made it.
    #[arg(long, default_value = "10m")]
    hold: String,
    /// Most moves of one plan.
    #[arg(long, value_name = "N", default_value_t = 4)]
    max_moves: u32,
    /// Most moves of one guest in an hour.
    #[arg(long, value_name = "N", default_value_t = 1)]
    moves_per_guest_per_hour: u32,
    /// Most moves of an hour, those of rules and requests included.
    #[arg(long, value_name = "N", default_value_t = 20)]
    moves_per_hour: u32,
    /// A move must earn back its cost within so long: less moves less.
    #[arg(long, default_value = "1h")]
    horizon: String,
}

#[derive(Debug, Args)]
pub(crate) struct Power {
    /// 1 wakes what the policy requires and parks nothing, 3 parks where it clearly pays, 5
    /// parks whatever saves anything.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5))]
    level: u8,
    /// Hosts awake beyond what the load needs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    reserve: u32,
    /// Hosts whose loss those that are awake must survive.
    #[arg(long, value_name = "N", default_value_t = 0)]
    survive_failures: u8,
    /// Times of the week: `park mon-fri 19:00-06:30` (parking is allowed then and at no other
    /// time), `awake daily 08:00-18:00 4`, `awake sat,sun 08:00-12:00 all`; may be repeated.
    #[arg(long, value_name = "WINDOW")]
    schedule: Vec<String>,
    /// Time zone of the schedule, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// A host that is neither parked nor woken; may be repeated.
    #[arg(long = "exclude-host", value_name = "HOST")]
    exclude_hosts: Vec<String>,
    /// A host stays on for at least so long.
    #[arg(long, value_name = "TIME", default_value = "30m")]
    min_on: String,
    /// A host stays off for at least so long.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    min_off: String,
    /// Only say what would be done: `drover power explain`.
    #[arg(long)]
    suggest: bool,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::Set(Set::Balance(balance)) => {
            let Balance { level, interval, hold, max_moves, horizon, .. } = balance;
            let policy = SetBalance {
                level,
                interval,
                hold,
                max_moves,
                moves_per_guest_per_hour: balance.moves_per_guest_per_hour,
                moves_per_hour: balance.moves_per_hour,
                horizon,
            };
            let policy = client.set_balance(&policy).await.map_err(problem)?;
            output::print(context.format, &policy, |_| show::placement::balance(&policy))
        }
        Command::Set(Set::PowerCap(PowerCap { name, hosts, watts, window, max_moves })) => {
            let cap = SetPowerCap { hosts, watts, window, max_moves };
            let cap = client.set_power_cap(&name, &cap).await.map_err(problem)?;
            output::print(context.format, &cap, |_| show::energy::caps(std::slice::from_ref(&cap)))
        }
        Command::Unset(Unset::PowerCap { name }) => {
            client.unset_power_cap(&name).await.map_err(problem)?;
            done(context, &format!("what the hosts of {name} draw is no longer capped"))
        }
        Command::Set(Set::Power(power)) => {
            let policy = SetPower {
                level: power.level,
                reserve: power.reserve,
                survive_failures: power.survive_failures,
                schedule: power.schedule,
                time_zone: power.time_zone,
                exclude_hosts: power.exclude_hosts,
                min_on: power.min_on,
                min_off: power.min_off,
                suggest: power.suggest,
            };
            let policy = client.set_power(&policy).await.map_err(problem)?;
            output::print(context.format, &policy, |_| show::power_policy::power(&policy))
        }
        Command::Show => {
            let policies = client.policies().await.map_err(problem)?;
            output::print(context.format, &policies, |_| show::placement::policies(&policies))
        }
        Command::Unset(Unset::Balance) => {
            client.unset_balance().await.map_err(problem)?;
            done(context, "the load is no longer kept even")
        }
        Command::Unset(Unset::Power) => {
            client.unset_power().await.map_err(problem)?;
            done(context, "hosts are no longer parked and woken; what sleeps stays asleep")
        }
    }
}
