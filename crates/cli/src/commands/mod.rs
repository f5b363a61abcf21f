//! One file per resource; each parses, calls the API and prints.

mod amounts;
mod baseline;
mod bmc;
mod drain;
mod event;
mod guest;
mod host;
mod limit;
mod migrate_args;
mod operation;
#[cfg(test)]
mod parse_tests;
mod placement;
mod plan;
mod policy;
mod power;
mod power_report;
mod preview;
mod rule;
mod secret;
mod several;
mod sim;
mod switch;
mod token;
mod top;
mod wait;
mod watch;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use drover_api::Problem;
use drover_api::client::{Client, ClientError};

use crate::config::{self, Given};
use crate::output::{self, Format};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 other failure, 2 wrong usage or bad request, \
3 not authenticated or forbidden, 4 not found, 5 conflict, 6 refused or limit reached, \
7 unavailable, 8 internal error, 130 interrupted while waiting. A migration that was begun and \
did not succeed ends with 1.";

/// Drover: watches QEMU/KVM hosts and moves guests live by rules.
#[derive(Debug, Parser)]
#[command(name = "drover", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// How answers are printed.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// URL of the controller.
    #[arg(long, global = true, env = "DROVER_URL")]
    url: Option<String>,
    /// API token; better in the file or the environment, where `ps` does not show it.
    #[arg(long, global = true, env = "DROVER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the only CA to trust, PEM.
    #[arg(long, global = true, env = "DROVER_CA")]
    ca_file: Option<PathBuf>,
    /// Configuration file; default ~/.config/drover/config.toml.
    #[arg(long, global = true, env = "DROVER_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hosts: list, show, drain, wake, park, tokens to join.
    #[command(subcommand)]
    Host(host::Command),
    /// Guests: list, show, migrate one or several.
    #[command(subcommand)]
    Guest(guest::Command),
    /// Rules: when to move guests.
    #[command(subcommand)]
    Rule(rule::Command),
    /// Placement rules: where guests may and should run.
    #[command(subcommand)]
    Placement(placement::Command),
    /// CPU baselines: one CPU that every host of a group has.
    #[command(subcommand)]
    Baseline(baseline::Command),
    /// Policies: what is done all the time, beside rules.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Power: what hosts have drawn, and what the power policy decides.
    #[command(subcommand)]
    Power(power_report::Command),
    /// Plans: what would be done, what is, and why.
    #[command(subcommand)]
    Plan(plan::Command),
    /// Operations: what is being done.
    #[command(subcommand)]
    Operation(operation::Command),
    /// Limits: how many migrations may be under way at once.
    #[command(subcommand)]
    Limit(limit::Command),
    /// Events: what was seen, decided and done.
    #[command(subcommand)]
    Event(event::Command),
    /// Live table of hosts and guests.
    Top(top::Top),
    /// Follow everything live: events, operations, samples; one JSON object a line.
    Watch,
    /// Rules on a modelled cluster: what they would do, and would have done.
    #[command(subcommand)]
    Sim(sim::Command),
    /// API tokens.
    #[command(subcommand)]
    Token(token::Command),
    /// Print a completion script.
    Completion {
        /// For which shell.
        shell: Shell,
    },
    /// Print the versions of this program and of the controller.
    Version,
    /// This program's configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show what is in force; never the token.
    Show,
}

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) format: Format,
}

type Done = Result<(), Problem>;

pub(crate) async fn run(arguments: Arguments) -> Done {
    let Arguments { output: format, url, token, ca_file, config, command } = arguments;
    let given = Given { url, token, ca_file, config };
    match &command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "drover", &mut script);
            output::end_if_unread(std::io::stdout().write_all(&script));
            return Ok(());
        }
        Command::Config(ConfigCommand::Show) => return show_config(&given),
        Command::Sim(command) => {
            if let Some(done) = sim::offline(format, command) {
                return done;
            }
        }
        _ => {}
    }
    let client = match config::load(&given) {
        Ok(config) => Client::new(config).map_err(|error| error.problem())?,
        Err(missing) => {
            if let Command::Version = command {
                output::out(&format!("drover {}", env!("CARGO_PKG_VERSION")));
            }
            return Err(missing);
        }
    };
    let context = Context { client, format };
    match command {
        Command::Host(command) => host::run(&context, command).await,
        Command::Guest(command) => guest::run(&context, command).await,
        Command::Rule(command) => rule::run(&context, command).await,
        Command::Placement(command) => placement::run(&context, command).await,
        Command::Baseline(command) => baseline::run(&context, command).await,
        Command::Policy(command) => policy::run(&context, command).await,
        Command::Power(command) => power_report::run(&context, command).await,
        Command::Plan(command) => plan::run(&context, command).await,
        Command::Operation(command) => operation::run(&context, command).await,
        Command::Limit(command) => limit::run(&context, command).await,
        Command::Event(command) => event::run(&context, command).await,
        Command::Top(top) => top::run(&context, &top).await,
        Command::Watch => watch::run(&context).await,
        Command::Sim(command) => sim::run(&context, command).await,
        Command::Token(command) => token::run(&context, command).await,
        Command::Version => version(&context).await,
        Command::Completion { .. } | Command::Config(_) => Ok(()),
    }
}

fn show_config(given: &Given) -> Done {
    let config = config::load(given)?;
    let path = given.config.clone().unwrap_or_else(config::default_path);
    output::out(
        output::fields(&[
            ("file", path.display().to_string()),
            ("url", config.url),
            ("token", if config.token.is_some() { "set" } else { "not set" }.to_owned()),
            ("ca", if config.ca_pem.is_some() { "its own" } else { "the system's" }.to_owned()),
        ])
        .trim_end(),
    );
    Ok(())
}

async fn version(context: &Context) -> Done {
    let asked = context.client.version().await;
    let droverd = asked.as_ref().ok().map(|controller| controller.version.clone());
    let versions = Versions { drover: env!("CARGO_PKG_VERSION"), droverd };
    output::print(context.format, &versions, |_| match &versions.droverd {
        Some(droverd) => format!("drover {}\ndroverd {droverd}", versions.drover),
        None => format!("drover {}", versions.drover),
    })?;
    asked.map(drop).map_err(problem)
}

/// What `drover version` answers.
#[derive(Debug, serde::Serialize)]
struct Versions {
    drover: &'static str,
    droverd: Option<String>,
}

/// Says what was done, to people.
fn done(context: &Context, text: &str) -> Done {
    if context.format.is_for_people() {
        output::out(text);
    }
    Ok(())
}

/// What the client said, as a problem.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn problem(error: ClientError) -> Problem {
    error.problem()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    /// docs/guide/cli.md is the help of every command; UPDATE=1 writes it anew.
    #[test]
    fn the_reference_page_is_current() {
        let mut page = String::from(
            "# Command line reference\n\nThis page is `drover`'s own help, kept current by a test.\n",
        );
        describe(&Arguments::command(), "drover", &mut page);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/cli.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == page,
            "docs/guide/cli.md is out of date: UPDATE=1 cargo test -p drover-cli"
        );
    }

    fn describe(command: &clap::Command, path: &str, page: &mut String) {
        let mut shown = command.clone().bin_name(path).term_width(90);
        let help = shown.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        page.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            describe(sub, &format!("{path} {}", sub.get_name()), page);
        }
    }
}
