//! Power, shown live: a host sleeps, another draws too much, the sleeper is woken by a magic
//! packet and takes a guest; later it is emptied and sleeps again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::story::{Story, Watched};
use super::{STEADY, connect, finish, indent, summary, title};
use crate::{Drover, Lab};

/// The host that sleeps.
const SLEEPER: &str = "h3";
/// Samples of all guests are in within so long, also on a busy machine.
const MEASURED_WITHIN: Duration = Duration::from_secs(60);
/// A lab host draws 90 W at rest and 250 W with its core busy; RAPL sees four fifths of it.
const WATCHED: Watched = Watched {
    metric: "power.watts",
    unit: "W",
    threshold: 130.0,
    enough: 6.0,
    full: 200.0,
    growing: super::WATCHED.growing,
    steps: &[10, 15, 20, 25, 30, 35],
};

/// Runs the demonstration on a lab that is up, with BMCs. Fails when a client lost anything.
pub fn demo_power(lab: &Lab) -> anyhow::Result<()> {
    let drover = Drover::of(lab);
    let say = |words: &[&str]| -> anyhow::Result<()> {
        let quoted = words
            .iter()
            .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() });
        println!("$ drover {}", quoted.collect::<Vec<String>>().join(" "));
        println!("{}", indent(&drover.drover(words)?));
        Ok(())
    };
    title(
        "Can h3 be woken? It is tried; then, since nobody needs it, its guest leaves and it sleeps",
    );
    let mac = lab.mac(SLEEPER)?;
    say(&["host", "power", "set", SLEEPER, "--mac", &mac, "--method", "wake-on-lan"])?;
    until_measured(&drover)?;
    say(&["host", "check-wake", SLEEPER, "--wait"])?;
    until_measured(&drover)?;
    say(&["host", "park", SLEEPER, "--wait"])?;
    say(&["host", "list"])?;
    title("The rule");
    let rule = ["rule", "create", "hot", "power.watts > 130", "--period", "10s", "--source-host"];
    say(&[&rule[..], &["h1", "--target-host", SLEEPER, "--max-moves", "1", "--wake"]].concat())?;
    let mut story = Story::follow(lab, WATCHED)?;
    title(
        "A client connects to both guests of h1: 20 Hz ping, numbered lines over one TCP connection",
    );
    let probes = connect(lab)?;
    title("Load grows on h1");
    lab.load(STEADY.0, STEADY.1)?;
    let told = story.until_moved(lab).and_then(|moved| {
        drop(story);
        title("Load falls: the guest goes back, h3 sleeps again");
        for guest in lab.spec().guest_names() {
            lab.load(&guest, 0)?;
        }
        say(&["rule", "delete", "hot"])?;
        say(&["host", "park", SLEEPER, "--wait"])?;
        say(&["guest", "list"])?;
        Ok(moved)
    });
    let reports = finish(probes)?;
    let moved = told?;
    let home = lab.host_of(&moved.guest)?.context("the guest that was moved runs nowhere")?;
    title("What it took");
    say(&["host", "power", SLEEPER])?;
    say(&["power", "report", "--days", "1"])?;
    title("Summary");
    summary(&moved, &reports)?;
    println!("  {} is back on {home}; {SLEEPER} sleeps", moved.guest);
    Ok(())
}

/// Nothing moves before every host and every guest has been measured for a while.
fn until_measured(drover: &Drover<'_>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let words = ["host", "park", SLEEPER, "--untested", "--dry-run"];
    while let Err(error) = drover.drover(&words) {
        ensure!(begun.elapsed() < MEASURED_WITHIN, "{error:#}");
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
