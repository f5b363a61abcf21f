//! The lab that the moves are measured in: two hosts, and Drover on them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use drover_lab::{Drover, GuestDisk, GuestLease, Lab, LabSpec};
use serde_json::Value;

/// What is waited for comes within so long.
const SOON: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// From the agents' joining to the first moves: samples of all guests are in.
const FIRST_SAMPLES: Duration = Duration::from_secs(10);
/// The guests that come with the lab: one is moved, the other keeps the hosts from idling.
const GUESTS: u8 = 2;

pub(super) struct Bed {
    pub(super) lab: Lab,
}

impl Bed {
    pub(super) fn up(name: &str) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let bin_dir = own.parent().context("a program has a directory")?.to_owned();
        let dir = std::env::temp_dir().join(format!("drover-{name}-lab"));
        if dir.join("lab.json").exists() {
            Lab::open(&dir)?.down()?;
        }
        let spec = LabSpec { hosts: 2, guests: GUESTS, ..LabSpec::new(name, dir, bin_dir) };
        let bed = Self { lab: Lab::up(spec, &|_| {})? };
        let ready = Drover::of(&bed.lab).up(&|_| {}).and_then(|()| {
            std::thread::sleep(FIRST_SAMPLES);
            bed.know_addresses()
        });
        if let Err(error) = ready {
            bed.lab.down()?;
            return Err(error);
        }
        Ok(bed)
    }

    pub(super) fn down(&self) -> anyhow::Result<()> {
        self.lab.down()
    }

    pub(super) fn json(&self, words: &[&str]) -> anyhow::Result<Value> {
        Drover::of(&self.lab).json(words)
    }

    /// Where a guest runs, and the other host.
    pub(super) fn way(&self, guest: &str) -> anyhow::Result<(String, String)> {
        let home = self.lab.host_of(guest)?.with_context(|| format!("{guest} runs nowhere"))?;
        let to = if home == "h1" { "h2" } else { "h1" };
        Ok((home, to.to_owned()))
    }

    /// Starts a guest whose disk is a file of its host.
    pub(super) fn start_local(&self, guest: &str) -> anyhow::Result<()> {
        self.lab.start_guest_with(guest, "h1", GuestDisk::Local, GuestLease::None)?;
        self.lab.wait_for_guest(guest)?;
        self.settled(guest, "h1")?;
        self.know_address(guest)
    }

    /// Waits until Drover knows that a guest is there, whoever brought it, and has measured
    /// it there.
    pub(super) fn settled(&self, guest: &str, host: &str) -> anyhow::Result<()> {
        self.until(&format!("{guest} settled on {host}"), || {
            // Between the two hosts' inventories it may be unknown for a moment.
            let shown = self.json(&["guest", "show", guest]).unwrap_or_default();
            Ok(shown["host"] == host
                && shown["owner_phase"] == "settled"
                && shown["host_percent"].is_number())
        })
    }

    pub(super) fn until(
        &self,
        what: &str,
        mut holds: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !holds()? {
            anyhow::ensure!(begun.elapsed() < SOON, "{what}: not within {SOON:?}");
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// The blackout is measured only for guests whose address is known, and a silent
    /// guest's is not.
    fn know_addresses(&self) -> anyhow::Result<()> {
        self.lab.spec().guest_names().iter().try_for_each(|guest| self.know_address(guest))
    }

    fn know_address(&self, guest: &str) -> anyhow::Result<()> {
        let _client = self.lab.probe(guest, None)?;
        self.until(&format!("the address of {guest}"), || {
            let shown = self.json(&["guest", "show", guest]).unwrap_or_default();
            let cards = shown["nics"].as_array();
            Ok(cards
                .into_iter()
                .flatten()
                .any(|card| card["addresses"].as_array().is_some_and(|known| !known.is_empty())))
        })
    }
}
