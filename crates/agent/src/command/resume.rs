//! Let the guest run here.
//!
//! The source's copy is gone a moment before libvirt here has finished the arrival, so this
//! command usually comes too early by some milliseconds, and the guest stands still
//! meanwhile: try at once, and again at every event of the guest and in short intervals.
//! QEMU may also be refused the disk for a moment: the source's locks go only when its memory
//! has been given back, and storage may be out of reach. The guest's memory is here, and here
//! alone: that is no reason to give it up.

use std::sync::Arc;
use std::time::Duration;

use drover_agent_api::v1::{Failure, FailureKind, Resume};
use drover_model::{GuestId, GuestState};
use drover_ports::{HypervisorError, HypervisorEvent};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until};

use super::failure::{failure, of_hypervisor};
use super::turns::Turn;
use super::{Commands, Order};

/// How long an arrival may take to be complete.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many attempts are made at the shortest interval.
const QUICK_ATTEMPTS: u32 = 25;

impl Commands {
    pub(super) async fn resume(
        self: &Arc<Self>,
        order: &Order,
        resume: Resume,
        turn: Turn,
    ) -> Result<(), Failure> {
        self.network.resumed(order.guest, Instant::now());
        self.run_here(order, turn).await?;
        self.network.adopt(&resume.nics);
        // Begins a task and returns: the answer to the controller does not wait.
        self.network.announce(self, order.guest, resume.nics, Instant::now());
        Ok(())
    }

    async fn run_here(&self, order: &Order, turn: Turn) -> Result<(), Failure> {
        // Before the first attempt, so that no event falls between it and the wait.
        let mut events = self.hypervisor.events();
        let deadline = Instant::now() + PATIENCE;
        let mut turn = Some(turn);
        let mut attempt = 0;
        loop {
            let held = match turn.take() {
                Some(turn) => turn,
                None => self.turns.take(order.guest).await,
            };
            let mut outcome = self.attempt(order).await;
            if outcome.is_err() && attempt >= QUICK_ATTEMPTS {
                outcome = self.unless_stopped(order, outcome).await;
            }
            drop(held);
            match outcome {
                Err(again) if may_pass(&again) && Instant::now() < deadline => {}
                done => {
                    if done.is_ok() {
                        self.has_arrived(order.guest);
                    }
                    return done;
                }
            }
            attempt += 1;
            let next = Instant::now() + pause_after(attempt);
            wait_for_event(&mut events, order.guest, next.min(deadline)).await;
        }
    }

    async fn attempt(&self, order: &Order) -> Result<(), Failure> {
        // A discard under a higher epoch, for one.
        self.not_overtaken(order)?;
        if self.operations.is_leaving(order.guest) {
            self.end_departure(order).await;
            let message = "its migration away from this host is not over";
            return Err(failure(FailureKind::Conflict, message));
        }
        let outcome: Result<(), HypervisorError> = self.hypervisor.resume(order.guest).await;
        outcome.map_err(|error| of_hypervisor(&error))
    }

    /// libvirt calls a guest that has stopped by itself one that is in the way, as it does one
    /// that has not arrived. No wait brings it back.
    async fn unless_stopped(
        &self,
        order: &Order,
        outcome: Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self.guest(order.guest).await {
            Ok(Some(guest)) if !guest.state.is_active() => {
                let message = "it is shut off here: its process has ended";
                Err(failure(FailureKind::Refused, message))
            }
            Ok(Some(guest)) if guest.state == GuestState::PostCopyFailed => {
                let message = "half of its memory is lost, and QEMU lets it run no more: `virsh \
                               destroy` it here and start it from its disks";
                Err(failure(FailureKind::Refused, message))
            }
            _ => outcome,
        }
    }

    /// The guest is to run here, so a migration away that somebody began under an older
    /// epoch is not wanted any more.
    async fn end_departure(&self, order: &Order) {
        if self.operations.ask_all_to_cancel(order.guest)
            && let Err(error) = self.hypervisor.cancel_migration(order.guest).await
        {
            tracing::warn!(guest = %order.guest, %error, "cannot cancel the migration");
        }
    }
}

fn may_pass(failure: &Failure) -> bool {
    matches!(failure.kind(), FailureKind::Conflict | FailureKind::Retry | FailureKind::Broken)
}

/// 2 ms at first; then it doubles up to 100 ms.
fn pause_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(QUICK_ATTEMPTS).min(6);
    Duration::from_millis(2 << doublings).min(Duration::from_millis(100))
}

async fn wait_for_event(
    events: &mut broadcast::Receiver<HypervisorEvent>,
    guest: GuestId,
    until: Instant,
) {
    loop {
        tokio::select! {
            () = sleep_until(until) => return,
            event = events.recv() => match event {
                Ok(event) if !concerns(event, guest) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => return sleep_until(until).await,
            },
        }
    }
}

fn concerns(event: HypervisorEvent, guest: GuestId) -> bool {
    match event {
        HypervisorEvent::Lifecycle { guest: which }
        | HypervisorEvent::JobCompleted { guest: which } => which == guest,
        HypervisorEvent::Connected => true,
        HypervisorEvent::MigrationIteration { .. }
        | HypervisorEvent::DeviceChanged { .. }
        | HypervisorEvent::Disconnected => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_close_at_first_and_then_apart() {
        for (attempt, millis) in
            [(1, 2), (25, 2), (26, 4), (27, 8), (30, 64), (31, 100), (999, 100)]
        {
            assert_eq!(pause_after(attempt), Duration::from_millis(millis), "{attempt}");
        }
    }
}
