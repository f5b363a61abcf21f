//! Repository automation: `cargo xtask ci` checks what the compiler does not.

#![allow(clippy::print_stdout, reason = "a command line prints its answers")]

mod layers;
mod links;
mod tidy;

use clap::Parser;

#[derive(Debug, Parser)]
enum Command {
    /// All checks.
    Ci,
    /// The arrows between crates.
    Layers,
    /// Links between pages, and pages that code names.
    Links,
    /// Limits on files, and names that may appear in one place only.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    if matches!(command, Command::Ci | Command::Layers) {
        layers::check()?;
    }
    if matches!(command, Command::Ci | Command::Links) {
        links::check()?;
    }
    if matches!(command, Command::Ci | Command::Tidy) {
        tidy::check()?;
    }
    println!("ok");
    Ok(())
}
