//! Wakes that fail say why; the next way or the next host is tried; and a restart of droverd in
//! the middle changes nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use drover_lab::LinkState;
use drover_lab::bmc::{BMC_PASSWORD, Nic};
use serde_json::Value;

use super::ground::Ground;
use super::sleepers::{
    fails, is_of_use, name_bmc, name_bmc_with, park, part, power, reasons, set, wake, with_bmcs,
};
use super::world::{World, all, text};

/// The address of no card.
const NOBODYS: &str = "52:54:00:77:77:77";
/// Twelve tries, ten seconds apart, would take two minutes.
const TOLD_AT_ONCE: Duration = Duration::from_secs(15);
/// A host that has become whole is used within so long: its agent looks every 10 s.
const USED_WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn wakes_that_fail_say_why(ground: &Ground) -> anyhow::Result<()> {
    ground.beside_with("lwake", with_bmcs, |world| {
        for guest in ["vm1", "vm2"] {
            world.lab.start_guest(guest, "h1")?;
        }
        for host in ["h2", "h3"] {
            name_bmc(world, host, "redfish")?;
        }
        park(world, "h3")?;
        part("a card that does not hear", || a_dead_card_and_a_wrong_address(world))?;
        part("a wrong password", || a_wrong_password(world))?;
        part("a BMC out of reach", || a_bmc_that_is_cut_off(world))?;
        part("storage that is missing", || a_host_that_boots_without_its_storage(world))?;
        part("a rule that wakes", || a_rule_wakes_the_next_host(world))?;
        part("a restart in mid-wake", || droverd_restarts_in_mid_wake(world))
    })
}

/// h3 stays off; the event and the command say why, and how often it was tried.
fn stays_off(world: &World, causes: &[&str]) -> anyhow::Result<String> {
    let start = world.now()?;
    let said = fails(world, &["host", "wake", "h3", "--wait"])?;
    let told = world.event(start, "host.wake_failed")?;
    let cause = text(&told["detail"], "cause");
    for part in causes {
        ensure!(said.contains(part) && cause.contains(part), "`{part}` is not in: {said}; {told}");
    }
    let power = power(world, "h3")?;
    ensure!(power["state"] == "wake-failed" && power["doing"] == cause, "{power}");
    ensure!(power["last_wake"]["failure"] == cause && power["wake_tested"] == false, "{power}");
    for (host, on) in [("h1", true), ("h2", true), ("h3", false)] {
        ensure!(world.lab.is_on(host) == on, "{host} is on: {}", !on);
    }
    Ok(said)
}

fn a_dead_card_and_a_wrong_address(world: &World) -> anyhow::Result<()> {
    let mac = world.lab.mac("h3")?;
    let impatient = ["--method", "wake-on-lan", "--tries", "2", "--pause", "1s"];
    set(world, "h3", &[&impatient[..], &["--mac", &mac]].concat())?;
    world.lab.set_nic("h3", &Nic { wakes: false, password: None })?;
    stays_off(world, &["no sign of life after 2 tries"]).context("no power on the card")?;
    world.lab.set_nic("h3", &Nic::default())?;
    set(world, "h3", &["--mac", NOBODYS])?;
    stays_off(world, &["no sign of life after 2 tries"]).context("another card's address")?;
    set(world, "h3", &["--mac", &mac])
}

/// A BMC locks the account after some wrong passwords: one is told and not repeated.
fn a_wrong_password(world: &World) -> anyhow::Result<()> {
    set(world, "h3", &["--method", "bmc", "--tries", "12", "--pause", "10s"])?;
    for protocol in ["ipmi", "redfish"] {
        name_bmc_with(world, "h3", protocol, "not-it")?;
        let begun = Instant::now();
        let causes = ["the BMC refuses the login", "password is wrong", "not asked again"];
        let said = stays_off(world, &causes).context(protocol)?;
        ensure!(begun.elapsed() < TOLD_AT_ONCE, "{protocol}: told after {:?}", begun.elapsed());
        ensure!(!said.contains("not-it") && !said.contains(BMC_PASSWORD), "{said}");
    }
    name_bmc(world, "h3", "redfish")
}

fn a_bmc_that_is_cut_off(world: &World) -> anyhow::Result<()> {
    // It takes its time to be silent.
    set(world, "h3", &["--tries", "1", "--pause", "1s"])?;
    world.lab.bmc_link("h3", LinkState::Down)?;
    let told = stays_off(world, &["no sign of life after 1 try; ", "the BMC does not answer"])
        .and_then(|_| {
            // The next way has its turn in the same try.
            set(world, "h3", &["--method", "bmc", "--method", "wake-on-lan"])?;
            wake(world, "h3")
        });
    world.lab.bmc_link("h3", LinkState::Up)?;
    told?;
    park(world, "h3")
}

/// As where a file server is not mounted: libvirt cannot start the pool.
fn a_host_that_boots_without_its_storage(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    let pool = lab.spec().dir.join("hosts/h3/lib/images");
    let away = pool.with_extension("away");
    std::fs::rename(&pool, &away)?;
    // A BMC that refuses the login gives its turn to the card, too.
    name_bmc_with(world, "h3", "redfish", "not-it")?;
    set(world, "h3", &["--deadline", "12s"])?;
    let start = world.now()?;
    let said = fails(world, &["host", "wake", "h3", "--wait"])?;
    let told = world.event(start, "host.wake_failed")?;
    ensure!(text(&told["detail"], "cause") == "it is up, but pool default is missing", "{told}");
    ensure!(said.contains("pool default is missing"), "{said}");
    ensure!(lab.is_on("h3"), "the magic packet did not wake it");
    // It is no target.
    let said = fails(world, &["guest", "migrate", "vm1", "--to", "h3"])?;
    ensure!(said.contains("no host can take vm1: h3"), "{said}");
    ensure!(world.home("vm1")? == "h1", "vm1 was moved to a host without storage");
    std::fs::rename(&away, &pool)?;
    lab.virsh("h3", &["pool-start", "default"])?;
    world.within(USED_WITHIN, "use of h3", || Ok(power(world, "h3")?["state"] == "on"))?;
    is_of_use(world, "h3")?;
    let awake = world.event(start, "host.awake")?;
    ensure!(text(&awake, "message").contains("at last"), "{awake}");
    name_bmc(world, "h3", "redfish")?;
    set(world, "h3", &["--deadline", "5m"])
}

/// That h3 wakes fast is known, of h2 nothing; but h3 cannot be woken now. h2 is woken in its
/// place and takes a guest.
fn a_rule_wakes_the_next_host(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    for guest in ["vm1", "vm2"] {
        lab.wait_for_guest(guest)?;
        lab.load(guest, LOAD)?;
    }
    world.drover(&["host", "park", "h2", "--untested"])?;
    park(world, "h3")?;
    world.until("h2 parked", || Ok(power(world, "h2")?["state"] == "parked"))?;
    only_one_is_left(world)?;
    lab.set_nic("h3", &Nic { wakes: false, password: None })?;
    set(world, "h3", &["--method", "wake-on-lan", "--tries", "2", "--pause", "1s"])?;
    let line = line(world)?;
    let start = world.now()?;
    let condition = format!("cpu.usage_active > {line}");
    let rule = ["rule", "create", "hot", &condition, "--period", "10s", "--cooldown", "0s"];
    let moves = ["--source-host", "h1", "--max-moves", "1", "--wake"];
    world.drover(&[&rule[..], &moves].concat())?;
    let failed = world.event(start, "host.wake_failed")?;
    ensure!(failed["host"] == "h3" && failed["rule"] == "hot", "{failed}");
    let done = world.event(start, "migration.completed")?;
    let woken: Vec<Value> = world.events(start, "rule.wakes")?;
    let woken: Vec<&str> = woken.iter().map(|one| text(&one["detail"], "woken")).collect();
    ensure!(woken == ["h3", "h2"], "woken one after the other: {woken:?}");
    let awake = world.event(start, "host.awake")?;
    ensure!(awake["host"] == "h2", "{awake}");
    ensure!(lab.is_on("h2") && !lab.is_on("h3"), "h2 was to be on, h3 off");
    ensure!(world.home(text(&done, "guest"))? == "h2", "{done}");
    world.drover(&["rule", "delete", "hot"])?;
    for guest in ["vm1", "vm2"] {
        lab.load(guest, 0)?;
    }
    Ok(())
}

/// What each of the two guests takes, percent.
const LOAD: u8 = 35;

/// Everybody else sleeps: h1 does not.
fn only_one_is_left(world: &World) -> anyhow::Result<()> {
    let found = reasons(world, "h1", &["--untested"])?;
    let said = |sort: &str, part: &str| {
        found.iter().any(|(reason, text)| reason == sort && text.contains(part))
    };
    ensure!(said("min-awake", "0 host(s) would stay awake, and 1 must"), "{found:?}");
    ensure!(said("guests", "2 guest(s) cannot leave it"), "{found:?}");
    Ok(())
}

/// A load that h1 has with two guests and not with one.
fn line(world: &World) -> anyhow::Result<f64> {
    let seen = std::cell::RefCell::new(Vec::new());
    world.until("a steady load of h1", || {
        let shown = world.json(&["host", "show", "h1"])?;
        let mut seen = seen.borrow_mut();
        seen.extend(shown["metrics"]["cpu.usage_active"].as_f64());
        std::thread::sleep(Duration::from_secs(2));
        let last = &seen[seen.len().saturating_sub(3)..];
        Ok(last.len() == 3 && last.iter().all(|load| *load > f64::from(LOAD)))
    })?;
    let seen = seen.into_inner();
    let last = &seen[seen.len() - 3..];
    Ok((last.iter().copied().fold(f64::INFINITY, f64::min) * 0.85).round())
}

/// h3 sleeps and its card is dead: tries go on. droverd dies among them, and carries on.
fn droverd_restarts_in_mid_wake(world: &World) -> anyhow::Result<()> {
    let lab = &world.lab;
    set(world, "h3", &["--tries", "100", "--pause", "1s"])?;
    let start = world.now()?;
    world.drover(&["host", "wake", "h3"])?;
    let tries = || -> anyhow::Result<u32> {
        let shown = power(world, "h3")?;
        ensure!(shown["state"] == "waking", "{shown}");
        let number = text(&shown, "doing").split_whitespace().nth(1).context("no number")?;
        Ok(number.parse()?)
    };
    world.until("the second try", || Ok(tries()? >= 2))?;
    let before = tries()?;
    let killed = lab.pid_of("ctl", "droverd")?;
    lab.kill_daemon("ctl", "droverd")?;
    world.until("another droverd", || Ok(lab.pid_of("ctl", "droverd")? != killed))?;
    world.until("its next try", || Ok(tries()? > before))?;
    lab.set_nic("h3", &Nic::default())?;
    world.until("h3 awake", || {
        ensure!(lab.is_on("h1") && lab.is_on("h2"), "a host was switched off");
        Ok(power(world, "h3")?["state"] == "on")
    })?;
    is_of_use(world, "h3")?;
    ensure!(world.events(start, "host.awake")?.len() == 1, "told once");
    ensure!(world.events(start, "host.waking")?.len() == 1, "begun once");
    for kind in ["host.parking", "host.wake_failed"] {
        ensure!(world.events(start, kind)?.is_empty(), "{kind} after the restart");
    }
    world.until("all hosts online", || {
        Ok(all(&world.json(&["host", "list"])?, |host| host["state"] == "online"))
    })
}
