//! A day of polling leaks nothing: libvirt's own test driver, 20,000 polls.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use drover_adapter_libvirt::Libvirt;
use drover_model::{GuestId, HostId};
use drover_ports::{Hypervisor as _, HypervisorError};

/// A day at one poll in 5 s is 17,280.
const POLLS: u32 = 20_000;
/// After this many, caches and allocator are warm.
const WARM: u32 = 2_000;
/// Growth that is noise: 12 bytes a poll would be a leak of 216 kB.
const NOISE_KIB: u64 = 256;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn poll(libvirt: &Libvirt) {
    let host = HostId::from_u128(1);
    let guests = libvirt.guests(host).await.unwrap();
    assert_eq!(guests.len(), 1, "the test driver has one guest");
    // It has no such call; the error, too, must be freed.
    drop(libvirt.stats().await);
    let nobody = libvirt.progress(GuestId::from_u128(5)).await;
    assert!(matches!(nobody, Err(HypervisorError::Gone(_))));
}

#[tokio::test]
#[ignore = "takes 20 s: `make lab` runs it"]
async fn polling_for_a_day_leaks_nothing() {
    let libvirt = Libvirt::connect("test:///default");
    for _ in 0..100 {
        if libvirt.is_connected() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..WARM {
        poll(&libvirt).await;
    }
    let before = resident_kib();
    for _ in 0..POLLS {
        poll(&libvirt).await;
    }
    let after = resident_kib();
    assert!(after <= before + NOISE_KIB, "{before} KiB grew to {after} KiB in {POLLS} polls");
}
