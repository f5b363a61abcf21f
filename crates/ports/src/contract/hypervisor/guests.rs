//! What a host says of itself and its guests.

use std::time::Duration;

use drover_model::{GuestId, GuestState, HostId, RunningQemu};

use super::{Rig, eventually};
use crate::contract::Kept;
use crate::contract::report::{promise, promise_eq};
use crate::{HypervisorError, IncomingDisposal};

/// No guest has it.
const NOBODY: GuestId = GuestId::from_u128(0xdead_0000_0000_4000_8000_0000_0000_0001);

pub(super) async fn a_host_describes_itself(rig: Rig) -> Kept {
    let (source, target) = (rig.source.describe().await?, rig.target.describe().await?);
    for host in [&source, &target] {
        promise!(host.id.is_some(), "a host without UUID: {host:?}");
        promise!(host.cpus > 0, "a host without processors: {host:?}");
        promise!(!host.qemu.is_empty() && !host.libvirt.is_empty(), "no versions: {host:?}");
        promise!(!host.virt_types.is_empty(), "no domain types: {host:?}");
    }
    promise!(source.id != target.id, "two hosts with the UUID {:?}", source.id);
    promise_eq!(rig.source.describe().await?.id, source.id, "the UUID when asked again");
    Ok(())
}

pub(super) async fn a_running_guest_is_seen_and_counted(rig: Rig) -> Kept {
    let listed = rig.listed(&rig.source).await?;
    let Some(guest) = listed else {
        return Err(crate::contract::Unkept("the guest is not listed".to_owned()));
    };
    promise_eq!(guest.state, GuestState::Running, "the state");
    promise_eq!(guest.host, HostId::from_u128(77), "the host that was given");
    promise!(guest.persistent, "a defined guest is not persistent");
    promise!(
        matches!(&guest.qemu, Some(RunningQemu::Known { version }) if !version.is_empty()),
        "the QEMU that runs it is {:?}",
        guest.qemu
    );
    let inspected = rig.source.inspect_guest(rig.guest).await?.guest;
    promise_eq!(inspected.qemu, guest.qemu, "the QEMU when it is looked at alone");
    promise!(guest.vcpus.0 > 0 && guest.memory.0 >= 32, "its size: {guest:?}");
    eventually("its counters grow", async || {
        let of_guest = async || {
            let all = rig.source.stats().await?;
            Ok::<_, HypervisorError>(all.into_iter().find(|stats| stats.guest == Some(rig.guest)))
        };
        let Some(first) = of_guest().await? else { return Ok(false) };
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Some(then) = of_guest().await? else { return Ok(false) };
        let grew = first.cpu_time_ns.is_some() && then.cpu_time_ns > first.cpu_time_ns;
        Ok(grew && then.resident > Some(0) && then.vcpus > Some(0))
    })
    .await?;
    promise_eq!(rig.state(&rig.target).await?, None, "the guest on the other host");
    let elsewhere = rig.target.stats().await?;
    promise!(elsewhere.iter().all(|stats| stats.guest != Some(rig.guest)), "counted elsewhere");
    Ok(())
}

pub(super) async fn a_guest_that_is_not_there_is_gone(rig: Rig) -> Kept {
    let gone = |result: Result<(), HypervisorError>, what: &str| {
        promise!(
            matches!(result, Err(HypervisorError::Gone(guest)) if guest == NOBODY),
            "{what}: {result:?} instead of gone"
        );
        Ok(())
    };
    gone(rig.source.resume(NOBODY).await, "resume")?;
    gone(rig.source.suspend(NOBODY).await, "suspend")?;
    gone(rig.source.measure_dirtying(NOBODY, 1).await.map(drop), "measure")?;
    gone(rig.source.cancel_migration(NOBODY).await, "cancel")?;
    gone(rig.source.progress(NOBODY).await.map(drop), "progress")?;
    let mut migration = rig.migration();
    migration.guest = NOBODY;
    gone(rig.source.migrate_out(migration).await.map(drop), "migrate")?;
    rig.source.wait_until_gone(NOBODY).await?;
    let discarded = rig.source.discard_incoming(NOBODY).await?;
    promise_eq!(discarded, IncomingDisposal::Absent, "what was discarded");
    Ok(())
}

pub(super) async fn a_running_guest_is_not_gone(rig: Rig) -> Kept {
    let wait = rig.source.wait_until_gone(rig.guest);
    let ended = tokio::time::timeout(Duration::from_millis(300), wait).await;
    promise!(ended.is_err(), "a running guest was said to be gone: {ended:?}");
    rig.target.wait_until_gone(rig.guest).await?;
    rig.source.resume(rig.guest).await?;
    promise_eq!(rig.source.progress(rig.guest).await?, None, "progress of no migration");
    rig.source.cancel_migration(rig.guest).await?;
    promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Running), "the state");
    Ok(())
}

pub(super) async fn a_guest_that_did_not_arrive_is_not_discarded(rig: Rig) -> Kept {
    let result = rig.source.discard_incoming(rig.guest).await;
    promise!(matches!(result, Err(HypervisorError::Refused(_))), "discard: {result:?}");
    promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Running), "the state");
    Ok(())
}

pub(super) async fn a_paused_guest_stays_and_runs_again(rig: Rig) -> Kept {
    for _ in 0..2 {
        rig.source.suspend(rig.guest).await?;
        promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Paused), "suspended");
    }
    rig.source.resume(rig.guest).await?;
    promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Running), "resumed");
    Ok(())
}

pub(super) async fn dirtying_is_measured_within_a_window(rig: Rig) -> Kept {
    let listed = rig.listed(&rig.source).await?;
    let memory = listed.map_or(0, |guest| guest.memory.bytes().0);
    for seconds in 1..=2 {
        let begun = tokio::time::Instant::now();
        let window = rig.source.measure_dirtying(rig.guest, seconds).await?;
        promise!(begun.elapsed() >= Duration::from_secs(seconds.into()), "it was quicker");
        promise_eq!(window.window_ms, u64::from(seconds) * 1000, "the window");
        promise!(window.dirtied.0 <= memory, "more than it has: {window:?}");
    }
    promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Running), "afterwards");
    Ok(())
}
