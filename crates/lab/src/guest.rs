//! Talking to lab guests: shell commands over HTTP, load and memory settings.

use std::process::Command;

use anyhow::Context as _;

use crate::addresses::guest_address;
use crate::tools::output;

/// A command in a guest may take so long, seconds.
const TIMEOUT_S: &str = "20";

/// Runs a shell command in a guest from the controller's network namespace; returns what
/// it printed.
pub(crate) fn exec(namespace: &str, guest: &str, line: &str) -> anyhow::Result<String> {
    let address = guest_address(guest).context("a guest is called vm and a number")?;
    output(
        Command::new("ip")
            .args(["netns", "exec", namespace, "curl", "-sS", "-m", TIMEOUT_S])
            .args(["--data-binary", line, &format!("http://{address}/cgi-bin/sh")]),
    )
    .map_err(|_| {
        // How it is asked is nothing to the user.
        anyhow::anyhow!("guest {guest} does not answer: does it run, and is its network up?")
    })
}

/// Whether the guest answers a ping within a second.
pub(crate) fn answers(namespace: &str, guest: &str) -> bool {
    let Some(address) = guest_address(guest) else { return false };
    output(
        Command::new("ip")
            .args(["netns", "exec", namespace])
            .args(["ping", "-c", "1", "-W", "1", "-q", &address]),
    )
    .is_ok()
}
