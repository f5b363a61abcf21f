//! `drover event`

use clap::{Args, Subcommand};
use drover_api::v1::{Event, EventQuery, Watch};
use futures::StreamExt as _;

use super::wait::patiently;
use super::{Context, Done, problem};
use crate::output::{self, Format};
use crate::show;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List events, the oldest first.
    List(List),
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct List {
    /// Go on with events as they come.
    #[arg(long, short)]
    follow: bool,
    /// Only events about this host.
    #[arg(long)]
    host: Option<String>,
    /// Only events about this guest.
    #[arg(long)]
    guest: Option<String>,
    /// Only events about this rule.
    #[arg(long)]
    rule: Option<String>,
    /// Only events about this operation.
    #[arg(long)]
    operation: Option<String>,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl List {
    /// The events of one rule.
    pub(crate) fn of_rule(rule: String, limit: usize) -> Self {
        Self { rule: Some(rule), limit, ..Self::default() }
    }
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let Command::List(list) = command;
    self::list(context, list).await
}

pub(crate) async fn list(context: &Context, list: List) -> Done {
    let mut query = EventQuery {
        after: None,
        limit: Some(list.limit),
        host: list.host,
        guest: list.guest,
        rule: list.rule,
        operation: list.operation,
    };
    let events = context.client.events(&query).await.map_err(problem)?;
    if !list.follow {
        return output::print(context.format, &events, |wide| lines(&events, wide));
    }
    let mut last = events.last().map_or(0, |event| event.sequence);
    for event in &events {
        print_one(context.format, event)?;
    }
    query.limit = Some(1000);
    loop {
        // The stream wakes; what happened is always read anew, so nothing is missed.
        let mut stream = patiently(async || context.client.watch().await).await?;
        loop {
            query.after = Some(last);
            for event in patiently(async || context.client.events(&query).await).await? {
                last = event.sequence;
                print_one(context.format, &event)?;
            }
            let woken = loop {
                match stream.next().await {
                    Some(Watch::Event(_) | Watch::Lagged(_)) => break true,
                    Some(_) => {}
                    None => break false,
                }
            };
            if !woken {
                break;
            }
        }
    }
}

fn lines(events: &[Event], wide: bool) -> String {
    events.iter().map(|event| show::event(event, wide)).collect::<Vec<_>>().join("\n")
}

fn print_one(format: Format, event: &Event) -> Done {
    if format == Format::Json {
        // One line each, so that a script can read the stream.
        output::out(&serde_json::to_string(event).unwrap_or_default());
        return Ok(());
    }
    output::print(format, event, |wide| show::event(event, wide))
}
