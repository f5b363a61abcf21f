//! drover-lab: see the library.

#![allow(clippy::print_stdout, reason = "a command line prints its answers")]
#![allow(clippy::print_stderr, reason = "a command line prints its errors")]

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
