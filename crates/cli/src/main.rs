//! drover: the command line over the public API. It knows nothing that a user's script
//! could not know.

#![allow(clippy::print_stdout, reason = "a command line prints its answers")]
#![allow(clippy::print_stderr, reason = "a command line prints its errors")]

mod commands;
mod config;
mod output;
mod show;

use std::process::ExitCode;

use clap::Parser as _;
use drover_api::{Problem, ProblemKind};

use crate::output::Format;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    let format = arguments.output;
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            report(&problem, format);
            ExitCode::from(problem.kind.exit_code())
        }
    }
}

fn run(arguments: commands::Arguments) -> Result<(), Problem> {
    let broken = |text: String| Problem::new(ProblemKind::Internal, text);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err(broken("no TLS provider".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(format!("no runtime: {error}")))?;
    runtime.block_on(commands::run(arguments))
}

fn report(problem: &Problem, format: Format) {
    match format {
        Format::Json => {
            return eprintln!("{}", serde_json::to_string_pretty(problem).unwrap_or_default());
        }
        Format::Yaml => {
            return eprint!("{}", serde_saphyr::to_string(problem).unwrap_or_default());
        }
        Format::Table | Format::Wide => {}
    }
    eprintln!("error: {}", problem.detail);
    eprintln!("  kind: {}", problem.kind.title());
    if let Some(hint) = &problem.hint {
        eprintln!("  hint: {hint}");
    }
}
