//! `drover host`

use clap::Subcommand;
use drover_api::v1::{PowerCurveQuery, UpdateLabels};

use super::{Context, Done, bmc, done, drain, power, problem, switch};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List hosts.
    List,
    /// Show a host with its newest metrics.
    Show {
        /// Name or id.
        host: String,
    },
    /// Set labels of a host, such as its rack, or take them away.
    Label {
        /// Name or id.
        host: String,
        /// `rack=r1` sets a label, `rack-` takes it away.
        #[arg(required = true, value_name = "LABEL=VALUE|LABEL-", value_parser = label)]
        labels: Vec<(String, Option<String>)>,
    },
    /// Empty a host and keep it empty: its guests move, and nothing is placed on it.
    Drain(drain::Drain),
    /// Use a host again; moves of its drain that have not begun are not made.
    Undrain {
        /// Name or id.
        host: String,
    },
    /// Where a host's BMC is and how it is spoken to.
    #[command(subcommand)]
    Bmc(bmc::Command),
    /// What a host draws, and how it is switched on and off.
    Power(power::Power),
    /// Switch a host on and see to it that it is of use: agent, libvirtd, pools, networks. One that
    /// is still being emptied to be parked is called back.
    Wake(switch::Wake),
    /// Park a host and wake it again, as a test: power is saved only where that works.
    CheckWake(switch::CheckWake),
    /// Empty a host and switch it off to save power; `host wake` uses it again.
    Park(switch::Park),
    /// Say how much of the cluster stays awake, whatever is to be parked; what is left out
    /// stays, and without any option it is only shown.
    Reserve(power::Reserve),
    /// Show what a host draws by its CPU use, as it was learned, with a plot.
    PowerCurve {
        /// Name or id.
        host: String,
        /// Of its CPU packages alone.
        #[arg(long)]
        package: bool,
    },
    /// Make a one-time token with which a host joins.
    Token,
    /// Remove a host that will not come back; its agent must be off.
    Remove {
        /// Name or id.
        host: String,
        /// Forget the guests that it had, as far as is known.
        #[arg(long)]
        forget_guests: bool,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::List => {
            let hosts = client.hosts().await.map_err(problem)?;
            output::print(context.format, &hosts, |wide| show::hosts(&hosts, wide))
        }
        Command::Show { host } => {
            let host = client.host(&host).await.map_err(problem)?;
            output::print(context.format, &host, |_| show::host(&host))
        }
        Command::Label { host, labels } => {
            let change = UpdateLabels { labels: labels.into_iter().collect() };
            let after = client.label_host(&host, &change).await.map_err(problem)?;
            output::print(context.format, &after, |_| {
                format!("{}: {}", after.host, show::placement::labels(&after.labels))
            })
        }
        Command::Remove { host, forget_guests } => {
            client.remove_host(&host, forget_guests).await.map_err(problem)?;
            done(context, &format!("host {host} is removed"))
        }
        Command::PowerCurve { host, package } => {
            let metric = package.then(|| "power.package_watts".to_owned());
            let query = PowerCurveQuery { metric };
            let curve = client.power_curve(&host, &query).await.map_err(problem)?;
            output::print(context.format, &curve, |_| show::power_curve::power_curve(&curve))
        }
        Command::Drain(drain) => drain::run(context, drain).await,
        Command::Undrain { host } => {
            client.undrain_host(&host).await.map_err(problem)?;
            done(context, &format!("host {host} is in use again"))
        }
        Command::Bmc(command) => bmc::run(context, command).await,
        Command::Power(power) => power::run(context, power).await,
        Command::Wake(wake) => switch::wake(context, wake).await,
        Command::CheckWake(check) => switch::check_wake(context, check).await,
        Command::Park(park) => switch::park(context, park).await,
        Command::Reserve(reserve) => power::reserve(context, &reserve).await,
        Command::Token => {
            let token = client.join_token().await.map_err(problem)?;
            output::print(context.format, &token, |_| token.token.clone())
        }
    }
}

fn label(text: &str) -> Result<(String, Option<String>), String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((label, value)), _) => Ok((label.to_owned(), Some(value.to_owned()))),
        (None, Some(label)) => Ok((label.to_owned(), None)),
        (None, None) => Err(format!("`{text}` is neither LABEL=VALUE nor LABEL-")),
    }
}
