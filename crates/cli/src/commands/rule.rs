//! `drover rule`

use clap::{Args, Subcommand, ValueEnum};
use drover_api::v1::{Aggregate, CreateRule, RuleSpec, UpdateRule};

use super::{Context, Done, done, event, problem};
use crate::{output, show};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a rule.
    Create(Create),
    /// List rules.
    List,
    /// Show a rule with what it says of each host.
    Show {
        /// Name or id.
        rule: String,
    },
    /// Change a rule: what is given replaces, the rest stays.
    Update(Update),
    /// Switch a rule on.
    Enable {
        /// Name or id.
        rule: String,
    },
    /// Switch a rule off.
    Disable {
        /// Name or id.
        rule: String,
    },
    /// Delete a rule.
    Delete {
        /// Name or id.
        rule: String,
    },
    /// List the events of a rule.
    Events {
        /// Name.
        rule: String,
        /// At most so many, the newest.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Evaluate a rule now and show what it would do.
    Test {
        /// Name or id.
        rule: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Unique name.
    name: String,
    /// `cpu.usage_active > 60`, `cpu.usage_active.gt 60`, `mem.available < 4GiB` or
    /// `power.watts > 250`.
    condition: String,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Name or id.
    rule: String,
    /// New condition.
    #[arg(long)]
    condition: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Act again after a dry run.
    #[arg(long, conflicts_with = "dry_run")]
    act: bool,
    /// No longer wake hosts.
    #[arg(long, conflicts_with = "wake")]
    no_wake: bool,
}

#[derive(Debug, Args)]
struct Settings {
    /// Window over which samples are aggregated; 2m at first.
    #[arg(long)]
    period: Option<String>,
    /// How samples of the window become one number; the mean at first.
    #[arg(long, value_enum)]
    aggregate: Option<AggregateName>,
    /// Consecutive evaluations that must hold before it fires; 1 at first.
    #[arg(long = "for", value_name = "N")]
    evaluations: Option<u32>,
    /// Host to watch; repeatable; all at first, and again with `all`.
    #[arg(long = "source-host", value_name = "HOST")]
    source_hosts: Option<Vec<String>>,
    /// Host that guests may go to; repeatable; all at first, and again with `all`.
    #[arg(long = "target-host", value_name = "HOST")]
    target_hosts: Option<Vec<String>>,
    /// Guest that may be moved; repeatable; all at first, and again with `all`.
    #[arg(long = "guest", value_name = "GUEST")]
    guests: Option<Vec<String>>,
    /// Most moves of one plan; 4 at first.
    #[arg(long, value_name = "N")]
    max_moves: Option<u32>,
    /// A guest that was moved stays for so long; 10m at first.
    #[arg(long)]
    cooldown: Option<String>,
    /// Value at which the rule counts as cleared; at first, and again with `default`, a tenth
    /// of the threshold on its good side.
    #[arg(long, value_name = "VALUE")]
    clear: Option<String>,
    /// Plan and record, but move nothing.
    #[arg(long)]
    dry_run: bool,
    /// When no host that is awake takes the guests, wake a parked one of the target hosts.
    #[arg(long)]
    wake: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AggregateName {
    Mean,
    Max,
    Min,
    P95,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = &context.client;
    let rule = match command {
        Command::List => {
            let rules = client.rules().await.map_err(problem)?;
            return output::print(context.format, &rules, |wide| show::rules(&rules, wide));
        }
        Command::Delete { rule } => {
            client.delete_rule(&rule).await.map_err(problem)?;
            return done(context, &format!("rule {rule} is deleted"));
        }
        Command::Events { rule, limit } => {
            return event::list(context, event::List::of_rule(rule, limit)).await;
        }
        Command::Test { rule } => return test(context, &rule).await,
        Command::Create(create) => client.create_rule(&new_rule(create)).await,
        Command::Show { rule } => client.rule(&rule).await,
        Command::Update(update) => client.update_rule(&update.rule, &change(&update)).await,
        Command::Enable { rule } => client.update_rule(&rule, &enabled(true)).await,
        Command::Disable { rule } => client.update_rule(&rule, &enabled(false)).await,
    };
    let rule = rule.map_err(problem)?;
    output::print(context.format, &rule, |_| show::rule(&rule))
}

async fn test(context: &Context, rule: &str) -> Done {
    let test = context.client.test_rule(rule).await.map_err(problem)?;
    output::print(context.format, &test, |_| {
        let verdict = match (&test.plan, test.would_fire) {
            (Some(plan), _) => format!("it would do this:\n\n{}", show::plan(plan)),
            (None, true) => "it would fire".to_owned(),
            (None, false) => "it would not fire".to_owned(),
        };
        let wake = test.wake.as_ref().map(|wake| format!("\n{wake}")).unwrap_or_default();
        format!("{}\n\n{verdict}{wake}", show::rule_hosts(&test.hosts))
    })
}

fn new_rule(create: Create) -> CreateRule {
    let settings = create.settings;
    let spec = RuleSpec {
        condition: create.condition,
        period: settings.period.unwrap_or_else(|| "2m".to_owned()),
        aggregate: settings.aggregate.map(aggregate).unwrap_or_default(),
        evaluations: settings.evaluations.unwrap_or(1),
        source_hosts: settings.source_hosts.map(all_or).unwrap_or_default(),
        target_hosts: settings.target_hosts.map(all_or).unwrap_or_default(),
        guests: settings.guests.map(all_or).unwrap_or_default(),
        max_moves: settings.max_moves.unwrap_or(4),
        cooldown: settings.cooldown.unwrap_or_else(|| "10m".to_owned()),
        clear: settings.clear.filter(|clear| clear != DEFAULT),
        dry_run: settings.dry_run,
        wake: settings.wake,
    };
    CreateRule { name: create.name, spec }
}

fn change(update: &Update) -> UpdateRule {
    let settings = &update.settings;
    let either = |on: bool, off: bool| if on { Some(true) } else { off.then_some(false) };
    let dry_run = either(settings.dry_run, update.act);
    UpdateRule {
        condition: update.condition.clone(),
        period: settings.period.clone(),
        aggregate: settings.aggregate.map(aggregate),
        evaluations: settings.evaluations,
        source_hosts: settings.source_hosts.clone().map(all_or),
        target_hosts: settings.target_hosts.clone().map(all_or),
        guests: settings.guests.clone().map(all_or),
        max_moves: settings.max_moves,
        cooldown: settings.cooldown.clone(),
        clear: settings.clear.clone(),
        dry_run,
        wake: either(settings.wake, update.no_wake),
        enabled: None,
    }
}

/// `all` alone is the empty list: no limit.
fn all_or(names: Vec<String>) -> Vec<String> {
    if names == ["all"] { Vec::new() } else { names }
}

/// The word for the clear value that follows from the threshold.
const DEFAULT: &str = "default";

fn enabled(enabled: bool) -> UpdateRule {
    UpdateRule { enabled: Some(enabled), ..UpdateRule::default() }
}

const fn aggregate(name: AggregateName) -> Aggregate {
    match name {
        AggregateName::Mean => Aggregate::Mean,
        AggregateName::Max => Aggregate::Max,
        AggregateName::Min => Aggregate::Min,
        AggregateName::P95 => Aggregate::P95,
    }
}
