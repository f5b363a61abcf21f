//! Talking to lab guests: shell commands over HTTP, load and memory settings.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::addresses::guest_address;
use crate::tools::output;

/// A command in a guest may take so long.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Runs a shell command in a guest from the controller's network namespace; returns what
/// it printed.
pub(crate) fn exec(namespace: &str, guest: &str, line: &str) -> anyhow::Result<String> {
    let mut curl = Command::new("ip");
    curl.args(["netns", "exec", namespace, "curl"]);
    exec_by(curl, guest, line, LONG)
}

/// The same by a `curl` that reaches the guest, within this time.
pub(crate) fn exec_by(
    mut curl: Command,
    guest: &str,
    line: &str,
    limit: Duration,
) -> anyhow::Result<String> {
    let address = guest_address(guest).context("a guest is called vm and a number")?;
    curl.args(["-sS", "-m", &limit.as_secs_f64().to_string(), "--data-binary", line])
        .arg(format!("http://{address}/cgi-bin/sh"));
    output(&mut curl).map_err(|_| {
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
