//! Sending a guest.

use drover_model::{Bytes, GuestState};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::{Rig, eventually};

use crate::contract::report::{promise, promise_eq};
use crate::contract::{Kept, Unkept};
use crate::{HypervisorError, HypervisorEvent, IncomingDisposal};

/// A migration at full speed takes no longer; at the cap it would take a minute.
const SOON_UNCAPPED: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) async fn a_guest_arrives_paused_and_runs_when_it_is_resumed(rig: Rig) -> Kept {
    let (mut left, mut arrived) = (rig.source.events(), rig.target.events());
    let outcome = rig.source.migrate_out(rig.migration()).await?;
    promise!(outcome.transferred > Some(Bytes(0)), "nothing was sent: {outcome:?}");
    rig.source.wait_until_gone(rig.guest).await?;
    promise_eq!(rig.state(&rig.source).await?, None, "the guest at the source");
    let paused = rig.state(&rig.target).await?;
    promise!(
        matches!(paused, Some(GuestState::Paused | GuestState::PausedForMigration)),
        "it arrived {paused:?}"
    );
    let again = rig.source.migrate_out(rig.migration()).await;
    promise!(matches!(again, Err(HypervisorError::Gone(_))), "sent again: {again:?}");
    for _ in 0..2 {
        rig.target.resume(rig.guest).await?;
        promise_eq!(rig.state(&rig.target).await?, Some(GuestState::Running), "resumed");
    }
    let discarded = rig.target.discard_incoming(rig.guest).await;
    promise!(
        matches!(discarded, Err(HypervisorError::Refused(_))),
        "discarding what runs: {discarded:?}"
    );
    let kept = rig.listed(&rig.target).await?.is_some_and(|guest| guest.persistent);
    promise!(kept, "the target does not keep its definition");
    let ours = HypervisorEvent::Lifecycle { guest: rig.guest };
    seen(&mut left, "the source tells of the guest", |event| *event == ours).await?;
    seen(&mut arrived, "the target tells of the guest", |event| *event == ours).await
}

pub(super) async fn a_running_migration_tells_its_progress(rig: Rig) -> Kept {
    let mut events = rig.source.events();
    let sent = rig.send(rig.slow_migration());
    rig.under_way().await?;
    eventually("bytes are counted", async || {
        let progress = rig.source.progress(rig.guest).await?;
        Ok(progress.is_some_and(|now| now.total.0 > 0 && now.processed.0 > 0))
    })
    .await?;
    promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Running), "meanwhile");
    let pass = |event: &HypervisorEvent| matches!(event, HypervisorEvent::MigrationIteration { guest, .. } if *guest == rig.guest);
    seen(&mut events, "a pass is told", pass).await?;
    rig.source.cancel_migration(rig.guest).await?;
    drop(sent.await);
    Ok(())
}

pub(super) async fn a_guest_has_one_migration_at_a_time(rig: Rig) -> Kept {
    let sent = rig.send(rig.slow_migration());
    rig.under_way().await?;
    let second = rig.source.migrate_out(rig.migration()).await;
    promise!(matches!(second, Err(HypervisorError::Conflict(_))), "the second: {second:?}");
    promise!(!sent.is_finished(), "the first ended");
    rig.source.cancel_migration(rig.guest).await?;
    drop(sent.await);
    promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Running), "afterwards");
    Ok(())
}

pub(super) async fn a_cancelled_migration_leaves_the_guest(rig: Rig) -> Kept {
    let sent = rig.send(rig.slow_migration());
    rig.under_way().await?;
    rig.source.cancel_migration(rig.guest).await?;
    let ended = sent.await.map_err(|error| Unkept(format!("a task ended: {error}")))?;
    promise!(matches!(ended, Err(HypervisorError::Cancelled(_))), "it ended with {ended:?}");
    stayed(&rig).await?;
    rig.source.cancel_migration(rig.guest).await?;
    Ok(())
}

pub(super) async fn a_peer_out_of_reach_leaves_the_guest(rig: Rig) -> Kept {
    let mut migration = rig.migration();
    migration.peer_uri.clone_from(&rig.dead_peer_uri);
    let ended = rig.source.migrate_out(migration).await;
    promise!(ended.is_err(), "it ended with {ended:?}");
    stayed(&rig).await
}

pub(super) async fn a_copy_that_never_ran_may_be_discarded(rig: Rig) -> Kept {
    rig.source.migrate_out(rig.migration()).await?;
    rig.source.wait_until_gone(rig.guest).await?;
    let discarded = rig.target.discard_incoming(rig.guest).await?;
    promise_eq!(discarded, IncomingDisposal::Discarded, "the first time");
    let discarded = rig.target.discard_incoming(rig.guest).await?;
    promise_eq!(discarded, IncomingDisposal::Absent, "the second time");
    rig.target.wait_until_gone(rig.guest).await?;
    promise_eq!(rig.state(&rig.target).await?, None, "the guest");
    Ok(())
}

/// The guest runs on at the source and the target has nothing of it.
async fn stayed(rig: &Rig) -> Kept {
    eventually("the guest runs where it was, and only there", async || {
        let here = rig.state(&rig.source).await?;
        Ok(here == Some(GuestState::Running) && rig.state(&rig.target).await?.is_none())
    })
    .await?;
    promise_eq!(rig.source.progress(rig.guest).await?, None, "progress");
    rig.target.wait_until_gone(rig.guest).await?;
    Ok(())
}

async fn seen(
    events: &mut Receiver<HypervisorEvent>,
    what: &str,
    wanted: impl Fn(&HypervisorEvent) -> bool,
) -> Kept {
    let events = std::cell::RefCell::new(events);
    eventually(what, async || {
        loop {
            match events.borrow_mut().try_recv() {
                Ok(event) if wanted(&event) => return Ok(true),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(false),
            }
        }
    })
    .await
}

/// Waits until the guest's memory is on its way: before that a job takes its settings from
/// the call that began it.
async fn sending(rig: &Rig) -> Kept {
    eventually("it sends", async || {
        let progress = rig.source.progress(rig.guest).await?;
        Ok(progress.is_some_and(|now| now.processed.0 > 0))
    })
    .await
}

pub(super) async fn the_cap_of_a_running_migration_can_be_lifted(rig: Rig) -> Kept {
    let sent = rig.send(rig.slow_migration());
    sending(&rig).await?;
    rig.source.set_max_downtime(rig.guest, 500).await?;
    rig.source.set_bandwidth(rig.guest, None).await?;
    let ended = tokio::time::timeout(SOON_UNCAPPED, sent).await;
    promise!(matches!(ended, Ok(Ok(Ok(_)))), "it goes on as slowly as before: {ended:?}");
    rig.target.resume(rig.guest).await?;
    Ok(())
}

pub(super) async fn post_copy_lets_the_guest_run_before_all_is_sent(rig: Rig) -> Kept {
    let mut migration = rig.slow_migration();
    migration.post_copy = true;
    // It holds for what follows after the switch as well.
    migration.settings.max_bandwidth_mib_s = Some(8);
    let refused = rig.source.start_post_copy(rig.guest).await;
    promise!(matches!(refused, Err(HypervisorError::Conflict(_))), "without a job: {refused:?}");
    let sent = rig.send(migration);
    rig.under_way().await?;
    eventually("it switches", async || match rig.source.start_post_copy(rig.guest).await {
        Ok(()) => Ok(true),
        Err(HypervisorError::Conflict(_)) => Ok(false),
        Err(error) => Err(error),
    })
    .await?;
    let ended = tokio::time::timeout(SOON_UNCAPPED, sent).await;
    promise!(matches!(ended, Ok(Ok(Ok(_)))), "it did not switch: {ended:?}");
    rig.source.wait_until_gone(rig.guest).await?;
    promise_eq!(rig.state(&rig.target).await?, Some(GuestState::Running), "nobody resumed it");
    Ok(())
}
