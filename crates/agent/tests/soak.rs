//! Sampling for long must not gather memory.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::sync::Arc;

use drover_agent::config::{Accounting, Config};
use drover_agent::observe::power::meter::PowerMeter;
use drover_agent::observe::read::Reader;
use drover_agent::observe::sampler::{SampleStore, Sampler};
use drover_model::{GuestId, GuestState};
use support::hypervisor::Scripted;

/// More than a day at one sample in 5 s.
const SAMPLES: u64 = 20_000;

/// How much may be gathered over all of them, kB.
const GROWTH_LIMIT: u64 = 2048;

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn twenty_thousand_samples_of_twenty_guests_gather_no_memory() {
    let hypervisor = Scripted::new();
    for guest in 1..=20 {
        hypervisor.put(GuestId::from_u128(guest), GuestState::Running);
    }
    let store = Arc::new(SampleStore::default());
    let power = Config::parse("").unwrap().power;
    let power = Arc::new(PowerMeter::new(power));
    let mut sampler =
        Sampler::new(Reader::new(Accounting::Host, power), hypervisor, Arc::clone(&store));
    let mut settled = 0;
    for number in 1..=SAMPLES {
        sampler.measure().await;
        if number % 10 == 0 {
            // Never all: some always wait.
            store.buffer().acknowledge(number.saturating_sub(20));
        }
        if number == SAMPLES / 10 {
            settled = resident_kb();
        }
    }
    let grown = resident_kb().saturating_sub(settled);
    println!("resident {} kB, grown {grown} kB over {SAMPLES} samples", resident_kb());
    assert!(grown < GROWTH_LIMIT, "{grown} kB");
    assert!(store.buffer().len() < 40);
}
