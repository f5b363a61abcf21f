//! `drover policy`

use clap::{Args, Subcommand};
use drover_api::v1::{SetBalance, SetPowerCap};

use super::{Context, Done, done, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a policy stand, or change it.
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
}

#[derive(Debug, Subcommand)]
pub(crate) enum Unset {
    /// No longer keep the load even.
    Balance,
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
        Command::Show => {
            let policies = client.policies().await.map_err(problem)?;
            output::print(context.format, &policies, |_| show::placement::policies(&policies))
        }
        Command::Unset(Unset::Balance) => {
            client.unset_balance().await.map_err(problem)?;
            done(context, "the load is no longer kept even")
        }
    }
}
