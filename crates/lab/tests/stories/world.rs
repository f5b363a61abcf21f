//! A lab that stories are told on, and what they ask of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use drover_lab::{Drover, Lab, LabSpec};
use serde_json::Value;

use super::ground::shared_dir;
use super::lanes::Lane;

/// A condition that a story waits for must come true within so long.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) lab: Lab,
}

impl World {
    /// The lab that the stories of a lane share.
    pub(crate) fn up(lane: &Lane) -> anyhow::Result<Self> {
        let dir = shared_dir(lane.name)?;
        if dir.join("lab.json").exists() {
            Lab::open(&dir)?.down()?;
        }
        let own = LabSpec { name: format!("l{}", lane.name), ..spec(dir)? };
        let lab =
            Lab::up(LabSpec { releases: lane.releases, ..own }, &|step| eprintln!("  {step}"))?;
        Drover::of(&lab).up(&|step| eprintln!("  {step}"))?;
        let world = Self { lab };
        // Decisions need a window of samples.
        world.until("fresh samples of every host", || {
            let hosts = world.json(&["host", "list"])?;
            Ok(all(&hosts, |host| host["cpu_usage_percent"].is_number()))
        })?;
        Ok(world)
    }

    /// A lab that is there.
    pub(crate) const fn of(lab: Lab) -> Self {
        Self { lab }
    }

    /// Takes the lab down and looks for what it left.
    pub(crate) fn down(&self) -> anyhow::Result<()> {
        self.lab.down()?;
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let dir = self.lab.spec().dir.to_string_lossy().into_owned();
        ensure!(!mounts.contains(&dir), "mounts are left below {dir}");
        let left: Vec<String> = std::fs::read_dir("/run/netns")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(&format!("{}-", self.lab.spec().name)))
            .collect();
        ensure!(left.is_empty(), "namespaces are left: {left:?}");
        let processes = drover_lab::tools::run("ps -eo args")?;
        ensure!(!processes.contains(&dir), "processes of {dir} are left");
        Ok(())
    }

    /// No load, no rules, nothing under way.
    pub(crate) fn tidy(&self) -> anyhow::Result<()> {
        for rule in items(&self.json(&["rule", "list"])?) {
            self.drover(&["rule", "delete", text(rule, "name")])?;
        }
        for guest in self.lab.spec().guest_names() {
            let idle = self.lab.load(&guest, 0).and_then(|()| self.lab.dirty(&guest, 0, 16));
            idle.map_err(|error| self.with_sight(&guest, error))?;
        }
        self.until("the end of all operations", || {
            Ok(all(&self.json(&["operation", "list"])?, |op| op["finished"] == true))
        })?;
        self.until("agents that watch no QEMU any more", || self.agents_rest())
    }

    /// No agent has a thread left that looks hundreds of times a second whether a QEMU ended.
    fn agents_rest(&self) -> anyhow::Result<bool> {
        for host in self.lab.status()?.iter().filter(|host| host.on) {
            let pid = self.lab.pid_of(&host.name, "agent")?;
            for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let name = std::fs::read_to_string(thread?.path().join("comm"));
                if name.is_ok_and(|name| name.trim() == "qemu-exit") {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    pub(crate) fn drover(&self, words: &[&str]) -> anyhow::Result<String> {
        Drover::of(&self.lab).drover(words)
    }

    pub(crate) fn json(&self, words: &[&str]) -> anyhow::Result<Value> {
        Drover::of(&self.lab).json(words)
    }

    /// The host on which a guest runs, by libvirt's word: exactly one.
    pub(crate) fn home(&self, guest: &str) -> anyhow::Result<String> {
        let mut homes = Vec::new();
        for host in self.lab.status()?.iter().filter(|host| host.on) {
            let listed = self.lab.virsh(&host.name, &["list", "--state-running", "--name"])?;
            if listed.split_whitespace().any(|name| name == guest) {
                homes.push(host.name.clone());
            }
        }
        match homes.as_slice() {
            [home] => Ok(home.clone()),
            _ => bail!("{guest} runs on {homes:?}"),
        }
    }

    /// A guest looks at all of its memory that it knows, and nothing is wrong.
    pub(crate) fn memory_is_whole(&self, guest: &str) -> anyhow::Result<()> {
        let found = self.lab.check(guest).context("the guest answers")?;
        ensure!(found.faults() == 0, "memory was damaged: {found}");
        ensure!(found.dirtied.checked > 0, "{guest} looked at nothing: {found}");
        Ok(())
    }

    /// A host other than this one.
    pub(crate) fn other(&self, host: &str) -> String {
        let names = self.lab.spec().host_names();
        names.into_iter().find(|name| name != host).unwrap_or_default()
    }

    /// Waits for a condition; an error is not yet a no.
    pub(crate) fn until(
        &self,
        what: &str,
        holds: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.within(SOON, what, holds)
    }

    /// The same for what takes longer.
    pub(crate) fn within(
        &self,
        limit: Duration,
        what: &str,
        mut holds: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < limit {
            match holds() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => last = Some(error),
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        match last {
            Some(error) => Err(error).with_context(|| format!("{what}: not within {limit:?}")),
            None => bail!("{what}: not within {limit:?}"),
        }
    }

    /// The number of the newest event.
    pub(crate) fn now(&self) -> anyhow::Result<u64> {
        let events = self.json(&["event", "list", "--limit", "1"])?;
        items(&events).last().and_then(|event| event["sequence"].as_u64()).context("no event")
    }

    /// Events of a kind after the one with this number.
    pub(crate) fn events(&self, after: u64, kind: &str) -> anyhow::Result<Vec<Value>> {
        let events = self.json(&["event", "list", "--limit", "1000"])?;
        Ok(items(&events)
            .iter()
            .filter(|event| event["sequence"].as_u64() > Some(after) && event["kind"] == kind)
            .cloned()
            .collect())
    }

    /// Waits for an event of a kind after the one with this number.
    pub(crate) fn event(&self, after: u64, kind: &str) -> anyhow::Result<Value> {
        self.until(&format!("event {kind}"), || Ok(!self.events(after, kind)?.is_empty()))?;
        self.events(after, kind)?.into_iter().next().context("it was there")
    }

    /// Begins a slow move and waits until it transfers. Returns the operation's id.
    pub(crate) fn begin_slow_move(&self, guest: &str, to: &str) -> anyhow::Result<String> {
        self.begin_slow_move_with(guest, to, &[])
    }

    /// The same with more options.
    pub(crate) fn begin_slow_move_with(
        &self,
        guest: &str,
        to: &str,
        options: &[&str],
    ) -> anyhow::Result<String> {
        // The 90 MiB or so of a guest take longer than what a story does meanwhile.
        self.begin_move_with(guest, to, "8MiB/s", options)
    }

    /// Begins a move at this bandwidth and waits until it transfers.
    pub(crate) fn begin_move(&self, guest: &str, to: &str, rate: &str) -> anyhow::Result<String> {
        self.begin_move_with(guest, to, rate, &[])
    }

    /// The same with more options.
    pub(crate) fn begin_move_with(
        &self,
        guest: &str,
        to: &str,
        rate: &str,
        options: &[&str],
    ) -> anyhow::Result<String> {
        self.measured(guest)?;
        let words = ["guest", "migrate", guest, "--to", to, "--max-bandwidth", rate, "--no-wait"];
        let words: Vec<&str> = words.iter().chain(options).copied().collect();
        let begun = self.json(&words)?;
        let id = text(&begun, "id").to_owned();
        self.until("the transfer", || {
            let operation = self.json(&["operation", "show", &id])?;
            let sends = ["transferring", "post-copy"].contains(&text(&operation, "state"));
            Ok(sends && operation["progress"].is_object())
        })?;
        Ok(id)
    }

    /// Waits until an operation is over and returns it.
    pub(crate) fn finished(&self, id: &str) -> anyhow::Result<Value> {
        self.finished_within(id, SOON)
    }

    /// The same for what takes longer.
    pub(crate) fn finished_within(&self, id: &str, limit: Duration) -> anyhow::Result<Value> {
        self.within(limit, "the end of the operation", || {
            Ok(self.json(&["operation", "show", id])?["finished"] == true)
        })?;
        self.json(&["operation", "show", id])
    }
}

pub(crate) fn spec(dir: PathBuf) -> anyhow::Result<LabSpec> {
    // Cargo tells tests where the package's own programs are; the others lie beside them.
    let own = PathBuf::from(env!("CARGO_BIN_EXE_drover-lab"));
    let beside = own.parent().context("a program has a directory")?.to_owned();
    Ok(LabSpec::new("ltest", dir, beside))
}

/// Guests that run on a host, by libvirt's word.
pub(crate) fn guests_on(world: &World, host: &str) -> anyhow::Result<Vec<String>> {
    let listed = world.lab.virsh(host, &["list", "--state-running", "--name"])?;
    Ok(listed.split_whitespace().map(str::to_owned).collect())
}

/// A host with two guests or more, and these guests.
pub(crate) fn crowded(world: &World) -> anyhow::Result<(String, Vec<String>)> {
    for host in world.lab.spec().host_names() {
        let guests = guests_on(world, &host)?;
        if guests.len() >= 2 {
            return Ok((host, guests));
        }
    }
    anyhow::bail!("no host has two guests")
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn all(value: &Value, holds: impl Fn(&Value) -> bool) -> bool {
    items(value).iter().all(holds)
}

pub(crate) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
