//! `drover placement`

use clap::{Args, Subcommand, ValueEnum};
use drover_api::v1::{CreatePlacementRule, PlacementKind};

use super::{Context, Done, done, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a placement rule: no plan breaks it, unless it is only preferred.
    Create(Create),
    /// List placement rules and whether they hold now.
    List,
    /// Delete a placement rule.
    Delete {
        /// Name or id.
        rule: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Unique name.
    name: String,
    /// What is wished.
    #[arg(value_enum)]
    kind: Kind,
    /// Guest that it is about; repeatable.
    #[arg(long = "guest", value_name = "GUEST", required = true)]
    guests: Vec<String>,
    /// Host that it is about, for `on` and `not-on`; repeatable.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// What a place is: `host`, or a label of hosts such as `rack` [default: host].
    #[arg(long, value_name = "host|LABEL")]
    scope: Option<String>,
    /// For `apart`: most of the guests in one place [default: 1].
    #[arg(long, value_name = "N")]
    most: Option<u16>,
    /// For `spread`: fewest places [default: 2].
    #[arg(long, value_name = "N")]
    least: Option<u16>,
    /// Only prefer it: breaking it costs so much; 0.1 is about what a level 3 balance moves
    /// a guest for.
    #[arg(long, value_name = "WEIGHT")]
    prefer: Option<f64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// At most `--most` of the guests in one place.
    Apart,
    /// All of the guests in one place.
    Together,
    /// The guests in at least `--least` places.
    Spread,
    /// The guests on these hosts only.
    On,
    /// The guests not on these hosts.
    NotOn,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    match command {
        Command::Create(create) => {
            let rule = client.create_placement_rule(&new_rule(create)).await.map_err(problem)?;
            output::print(context.format, &rule, |_| {
                show::placement::rules(std::slice::from_ref(&rule))
            })
        }
        Command::List => {
            let rules = client.placement_rules().await.map_err(problem)?;
            output::print(context.format, &rules, |_| show::placement::rules(&rules))
        }
        Command::Delete { rule } => {
            client.delete_placement_rule(&rule).await.map_err(problem)?;
            done(context, &format!("placement rule {rule} is deleted"))
        }
    }
}

fn new_rule(create: Create) -> CreatePlacementRule {
    let Create { name, kind, guests, hosts, scope, most, least, prefer } = create;
    let kind = match kind {
        Kind::Apart => PlacementKind::Apart,
        Kind::Together => PlacementKind::Together,
        Kind::Spread => PlacementKind::Spread,
        Kind::On => PlacementKind::On,
        Kind::NotOn => PlacementKind::NotOn,
    };
    CreatePlacementRule { name, kind, guests, hosts, scope, most, least, prefer }
}
