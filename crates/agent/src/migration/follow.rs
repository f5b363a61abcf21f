//! Follows a migration that nobody here waits for, by asking until the end is known.

use std::sync::Arc;
use std::time::Duration;

use drover_agent_api::v1::Failure;
use drover_lifecycle::recovery::Broken;
use drover_lifecycle::{FailureKind, Look, Verdict, judge};
use drover_model::{GuestId, GuestState, MigrationOutcome, MigrationProgress, OperationId};
use drover_ports::{HypervisorError, HypervisorEvent, OutgoingMigration};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::cancel::cancel_if_asked;
use super::converge::Converging;
use super::post_copy::{Moving, Switch, recover, switch_or_end};
use crate::clock;
use crate::command::Commands;
use crate::command::failure::{failure, wire};

/// How often to ask, beside every event of the guest.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Progress is told with every second look: every 500 ms.
const LOOKS_PER_PROGRESS: u32 = 2;

/// Follows it to its end. What was asked of libvirt is needed only to go on after a break; where
/// the job is over, `why` is what libvirt said.
pub(crate) async fn follow(
    commands: Arc<Commands>,
    operation: OperationId,
    guest: GuestId,
    outgoing: Option<OutgoingMigration>,
    mut why: Option<Failure>,
) {
    info!(%operation, %guest, "following the migration");
    let began = clock::now();
    let mut events = commands.hypervisor.events();
    let mut gone = commands.hypervisor.wait_until_gone(guest);
    let (mut process_gone, mut quiet, mut looks) = (false, 0, 0_u32);
    let (mut last, mut switch_tries) = (None, 0);
    let (mut switched, mut off_since) = (false, None::<Instant>);
    let mut moving = Moving::default();
    // Else the transfer may have broken long ago.
    let just_ended = why.is_some();
    let mut converging = outgoing.as_ref().map(|outgoing| Converging::new(&outgoing.settings));
    loop {
        let looked = look(&commands, guest).await;
        if let Ok((state, job)) = looked {
            quiet = if job.is_some() { 0 } else { quiet + 1 };
            let is_off = state == Some(GuestState::ShutOff);
            off_since = is_off.then(|| off_since.unwrap_or_else(Instant::now));
            let off_ms = off_since.map_or(0, |since| millis(since.elapsed()));
            match judge(&Look { state, job, process_gone, quiet, off_ms }) {
                Verdict::Runs(progress) => {
                    last = Some(progress);
                    if looks.is_multiple_of(LOOKS_PER_PROGRESS) {
                        commands.tell_progress(operation, progress);
                    }
                    looks += 1;
                    cancel_if_asked(&commands, operation, guest).await;
                    if let Some(converging) = &mut converging {
                        converging.look(&commands, operation, guest, &progress).await;
                    }
                    let wanted = commands.operations.is_to_switch(operation) && !switched;
                    if moving.has_moved(&progress) && wanted {
                        let outcome =
                            switch_or_end(&commands, operation, guest, &mut switch_tries).await;
                        switched = outcome == Switch::Settled;
                    }
                }
                Verdict::Broke => {
                    if let Some(outgoing) = outgoing {
                        let why = "its transfer broke after the switch to post-copy".to_owned();
                        // Boxed: going on may end in following again.
                        let commands = Arc::clone(&commands);
                        let state = if just_ended { Broken::new(0) } else { Broken::unseen() };
                        return Box::pin(recover(commands, operation, outgoing, why, state)).await;
                    }
                }
                Verdict::LookAgain => {}
                Verdict::Left => {
                    let spent = clock::now().since(began);
                    return commands.conclude(operation, Ok(outcome(last, spent))).await;
                }
                Verdict::Stayed(kind, stayed) => {
                    let said = why.take().filter(|_| kind == FailureKind::Broken);
                    let why = said.unwrap_or_else(|| failure(wire(kind), stayed));
                    return commands.conclude(operation, Err(why)).await;
                }
            }
        }
        tokio::select! {
            biased;
            watched = &mut gone, if !process_gone => match watched {
                // What that means libvirt tells.
                Ok(()) => process_gone = true,
                Err(_) => {
                    sleep(LOOK_INTERVAL).await;
                    gone = commands.hypervisor.wait_until_gone(guest);
                }
            },
            () = event_of(&mut events, guest) => {}
            () = sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// The guest here and its job.
pub(super) async fn look(
    commands: &Commands,
    guest: GuestId,
) -> Result<(Option<GuestState>, Option<MigrationProgress>), HypervisorError> {
    let Some(found) = commands.guest(guest).await? else { return Ok((None, None)) };
    if !found.state.is_active() {
        return Ok((Some(found.state), None));
    }
    match commands.hypervisor.progress(guest).await {
        Ok(job) => Ok((Some(found.state), job)),
        // It went between the two questions; the next look says so.
        Err(HypervisorError::Gone(_)) => Ok((Some(found.state), None)),
        Err(error) => Err(error),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What is known of a job whose statistics libvirt has thrown away with the source's copy.
fn outcome(last: Option<MigrationProgress>, followed: Duration) -> MigrationOutcome {
    let followed = millis(followed);
    MigrationOutcome {
        total_ms: last.map_or(0, |last| last.elapsed_ms).max(followed),
        downtime_ms: None,
        transferred: last.map(|last| last.processed),
        iterations: last.map(|last| last.iteration),
        blackout_ms: None,
    }
}

async fn event_of(events: &mut broadcast::Receiver<HypervisorEvent>, guest: GuestId) {
    loop {
        match events.recv().await {
            Ok(
                HypervisorEvent::Lifecycle { guest: which }
                | HypervisorEvent::JobCompleted { guest: which },
            ) if which == guest => {
                return;
            }
            Ok(HypervisorEvent::Connected) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
