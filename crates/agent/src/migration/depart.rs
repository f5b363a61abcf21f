//! Sends a guest away and waits for libvirt's word.

use std::sync::Arc;
use std::time::Duration;

use drover_model::{GuestId, MigrationOutcome, OperationId};
use drover_ports::{HypervisorError, HypervisorEvent, OutgoingMigration};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::adjust::adjust_again;
use super::cancel::cancel_if_asked;
use super::converge::{Converging, at_first};
use super::follow::follow;
use super::operations::JobKind;
use super::post_copy::{Moving, Switch, try_switch};
use crate::command::Commands;
use crate::command::failure::of_hypervisor;

/// How often progress is read and told, beside every pass over the guest's memory.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// How long the watch must hold before the migration begins. The guest is active, so a watch
/// that ends at once does not see its process (an agent in a container, say), and would call
/// it gone while it runs.
const SIGHTING: Duration = Duration::from_millis(100);

/// Runs one migration to its end.
pub(crate) async fn depart(
    commands: Arc<Commands>,
    operation: OperationId,
    mut outgoing: OutgoingMigration,
) {
    let guest = outgoing.guest;
    info!(%operation, %guest, to = outgoing.peer_uri, "the migration begins");
    loop {
        outgoing.post_copy = commands.operations.is_to_switch(operation);
        let outcome = tokio::select! {
            outcome = send_away(&commands, operation, first_of(&outgoing)) => outcome,
            // Beside it in the same task, so that it ends with it.
            never = watch_progress(&commands, operation, &outgoing) => match never {},
        };
        let error = match outcome {
            Ok(outcome) => return commands.conclude(operation, Ok(outcome)).await,
            Err(error) => error,
        };
        if wants_another(&commands, operation, &outgoing, &error) {
            info!(%operation, %guest, "begun again, to be switched to post-copy");
            outgoing.settings =
                commands.operations.settings(operation).unwrap_or(outgoing.settings);
            continue;
        }
        return match error {
            // The connection to libvirtd is lost; its job may well go on.
            HypervisorError::Retry(why) => {
                warn!(%operation, why, "lost sight of the migration; following it");
                follow(commands, operation, guest, Some(outgoing), None).await;
            }
            // Only the guest's state tells whether it had switched, and what became of it.
            error if outgoing.post_copy => {
                let why = of_hypervisor(&error);
                follow(commands, operation, guest, Some(outgoing), Some(why)).await;
            }
            error => commands.conclude(operation, Err(of_hypervisor(&error))).await,
        };
    }
}

/// With the downtime limit that it begins with.
fn first_of(outgoing: &OutgoingMigration) -> OutgoingMigration {
    let settings = at_first(outgoing.settings.clone());
    OutgoingMigration { settings, ..outgoing.clone() }
}

/// A transfer that could not be switched was ended so that one that can takes its place.
fn wants_another(
    commands: &Commands,
    operation: OperationId,
    outgoing: &OutgoingMigration,
    error: &HypervisorError,
) -> bool {
    matches!(error, HypervisorError::Cancelled(_))
        && !outgoing.post_copy
        && commands.operations.is_to_switch(operation)
        && !commands.operations.is_to_be_cancelled(operation)
}

/// The job, and beside it the watch over the guest's process.
///
/// The process also ends when QEMU crashes in mid-transfer, and which it was libvirt says
/// only later. The news goes out nevertheless: the guest stands still until the target hears
/// it, and the target can tell, since it refuses to resume a copy that is not complete.
/// Nothing can run here any more in either case.
async fn send_away(
    commands: &Commands,
    operation: OperationId,
    outgoing: OutgoingMigration,
) -> Result<MigrationOutcome, HypervisorError> {
    let guest = outgoing.guest;
    let mut gone = commands.hypervisor.wait_until_gone(guest);
    let sighted = timeout(SIGHTING, &mut gone).await.is_err();
    if !sighted {
        warn!(%operation, %guest, "cannot see the guest's process; waiting for libvirt's word alone");
    }
    if commands.operations.is_to_be_cancelled(operation) {
        return Err(HypervisorError::Cancelled("before it began".to_owned()));
    }
    let kind = if outgoing.post_copy { JobKind::PostCopy } else { JobKind::PreCopy };
    commands.operations.begins_as(operation, kind);
    // The wish to switch may have come just now, when there was no job to end.
    if kind == JobKind::PreCopy && commands.operations.is_to_switch(operation) {
        return Err(HypervisorError::Cancelled("to be begun as post-copy".to_owned()));
    }
    let mut job = commands.hypervisor.migrate_out(outgoing);
    tokio::select! {
        // The job first: its failure, if known by now, is the better news.
        biased;
        outcome = &mut job => return outcome,
        watched = &mut gone, if sighted => match watched {
            Ok(()) => commands.tell_source_gone(operation),
            Err(error) => warn!(%operation, %error, "cannot watch the guest's process"),
        },
    }
    job.await
}

/// Tells the progress for ever; nothing here delays the job or the watch.
async fn watch_progress(
    commands: &Commands,
    operation: OperationId,
    outgoing: &OutgoingMigration,
) -> std::convert::Infallible {
    let guest = outgoing.guest;
    let mut switch = if outgoing.post_copy { Switch::Pending } else { Switch::Settled };
    let mut converging = Converging::new(&outgoing.settings);
    let (mut sends, mut moving) = (false, Moving::default());
    let mut events = commands.hypervisor.events();
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        next_look(&mut events, &mut ticks, guest).await;
        let progress = commands.hypervisor.progress(guest).await;
        if let Ok(Some(progress)) = progress {
            commands.tell_progress(operation, progress);
            cancel_if_asked(commands, operation, guest).await;
            if !sends && progress.processed.0 > 0 {
                sends = true;
                adjust_again(commands, operation, outgoing).await;
            }
            converging.look(commands, operation, guest, &progress).await;
            if moving.has_moved(&progress) && switch == Switch::Pending {
                switch = try_switch(commands, operation, guest).await;
            }
        }
    }
}

async fn next_look(
    events: &mut broadcast::Receiver<HypervisorEvent>,
    ticks: &mut Interval,
    guest: GuestId,
) {
    loop {
        tokio::select! {
            _ = ticks.tick() => return,
            event = events.recv() => match event {
                Ok(HypervisorEvent::MigrationIteration { guest: which, .. }) if which == guest => {
                    return;
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => {
                    ticks.tick().await;
                    return;
                }
            },
        }
    }
}
