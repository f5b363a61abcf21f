//! Hosts that are parked and woken as an operator does it, and what is seen of them.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use drover_lab::LabSpec;
use drover_lab::bmc::{BMC_PASSWORD, BMC_USER};
use serde_json::Value;

use super::world::{World, items, text};

/// Where the command line reads a BMC's or a card's password.
const PASSWORD_FILE: &str = "/tmp/password";

/// Three hosts with BMCs.
pub(crate) fn with_bmcs(spec: LabSpec) -> LabSpec {
    LabSpec { hosts: 3, bmc: true, ..spec }
}

/// Tells one part of a story, and how long it took.
pub(crate) fn part(
    name: &'static str,
    tell: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    tell().context(name)?;
    eprintln!("  {name}: {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Names a host's BMC, with its right password.
pub(crate) fn name_bmc(world: &World, host: &str, protocol: &str) -> anyhow::Result<()> {
    name_bmc_with(world, host, protocol, BMC_PASSWORD)
}

/// The same with this password.
pub(crate) fn name_bmc_with(
    world: &World,
    host: &str,
    protocol: &str,
    password: &str,
) -> anyhow::Result<()> {
    let file = password_file(world, password)?;
    let (address, pin) = (world.lab.bmc_address(host)?, world.lab.bmc_certificate(host)?);
    let mut words = vec!["host", "bmc", "set", host, "--protocol", protocol];
    words.extend(["--address", &address, "--user", BMC_USER, "--password-file", file]);
    if protocol == "redfish" {
        words.extend(["--tls-pin", &pin]);
    }
    world.drover(&words).map(drop)
}

/// A file at the controller that holds nothing but this.
pub(crate) fn password_file(world: &World, password: &str) -> anyhow::Result<&'static str> {
    let line = format!("printf %s '{password}' > {PASSWORD_FILE}");
    world.lab.exec("ctl", &["sh", "-c", &line])?;
    Ok(PASSWORD_FILE)
}

/// Says how a host is woken and parked.
pub(crate) fn set(world: &World, host: &str, options: &[&str]) -> anyhow::Result<()> {
    world.drover(&[&["host", "power", "set", host], options].concat()).map(drop)
}

/// All that droverd says of a host's power.
pub(crate) fn power(world: &World, host: &str) -> anyhow::Result<Value> {
    world.json(&["host", "power", host])
}

/// Waits until a host may be parked: samples of a busy machine come late.
pub(crate) fn nothing_speaks_against_a_park(
    world: &World,
    host: &str,
    options: &[&str],
) -> anyhow::Result<()> {
    world.until("nothing against a park", || {
        let found = reasons(world, host, options)?;
        ensure!(found.is_empty(), "there are {found:?}");
        Ok(true)
    })
}

/// Parks a host and returns once it is off.
pub(crate) fn park(world: &World, host: &str) -> anyhow::Result<()> {
    nothing_speaks_against_a_park(world, host, &["--untested"])?;
    world.drover(&["host", "park", host, "--untested", "--wait"])?;
    ensure!(!world.lab.is_on(host), "{host} is said to be parked, and it is on");
    let state = power(world, host)?["state"].clone();
    ensure!(state == "parked", "{host} is {state}");
    Ok(())
}

/// Wakes a host and returns once it is of use.
pub(crate) fn wake(world: &World, host: &str) -> anyhow::Result<()> {
    world.drover(&["host", "wake", host, "--wait"])?;
    is_of_use(world, host)
}

/// A host is on, has what it had, and takes guests.
pub(crate) fn is_of_use(world: &World, host: &str) -> anyhow::Result<()> {
    ensure!(world.lab.is_on(host), "{host} is said to be awake, and it is off");
    let pools = world.lab.virsh(host, &["pool-list", "--name"])?;
    ensure!(pools.contains("default"), "{host} is awake without its pool: {pools}");
    let shown = world.json(&["host", "show", host])?;
    ensure!(shown["state"] == "online" && shown["maintenance"] == "active", "{shown}");
    let power = power(world, host)?;
    ensure!(power["state"] == "on" && power["doing"] == Value::Null, "{power}");
    Ok(())
}

/// What a command says that must fail.
pub(crate) fn fails(world: &World, words: &[&str]) -> anyhow::Result<String> {
    match world.drover(words) {
        Ok(printed) => bail!("`drover {}` succeeded: {printed}", words.join(" ")),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// What speaks against parking a host: sort and words of each reason. Nothing begins.
pub(crate) fn reasons(
    world: &World,
    host: &str,
    options: &[&str],
) -> anyhow::Result<Vec<(String, String)>> {
    let mut command = world.lab.command("ctl", "drover")?;
    command.args(["host", "park", host, "--dry-run", "-o", "json"]).args(options);
    let answer = command.stdin(Stdio::null()).output()?;
    let read: Value = serde_json::from_slice(&answer.stdout)
        .with_context(|| String::from_utf8_lossy(&answer.stderr).into_owned())?;
    let all = items(&read["refusals"]);
    ensure!(answer.status.success() == all.is_empty(), "its exit status: {}", answer.status);
    ensure!(all.iter().all(|one| !text(one, "cure").is_empty()), "no cure: {read}");
    let both = |one: &Value| (text(one, "reason").to_owned(), text(one, "text").to_owned());
    Ok(all.iter().map(both).collect())
}
