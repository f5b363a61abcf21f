//! Brings a transfer to its end: carries out what `drover_lifecycle::convergence` advises, and
//! tells the controller each thing that is done, and why.

use drover_lifecycle::convergence::{Action, Advice, Convergence, Limits};
use drover_model::{GuestId, MigrationProgress, MigrationSettings, OperationId};
use drover_ports::HypervisorError;
use tracing::{info, warn};

use crate::command::Commands;

/// The wish to switch to post-copy is told again after so long, milliseconds of the job: the
/// session may have broken just then.
const WISH_AGAIN_MS: u64 = 5_000;

/// A transfer that is watched.
#[derive(Debug)]
pub(super) struct Converging {
    state: Convergence,
    limits: Limits,
    /// Why post-copy is wanted, and when that was told last.
    wish: Option<(String, u64)>,
}

/// What a job begins with: the limit is raised to what the settings allow only where the
/// transfer does not end otherwise.
pub(super) fn at_first(settings: MigrationSettings) -> MigrationSettings {
    let max_downtime_ms = Limits::of(&settings).first_downtime_ms;
    MigrationSettings { max_downtime_ms, ..settings }
}

impl Converging {
    /// A transfer with these settings.
    pub(super) fn new(settings: &MigrationSettings) -> Self {
        let limits = Limits::of(settings);
        Self { state: Convergence::new(limits), limits, wish: None }
    }

    /// A look at the job, and what follows from it.
    pub(super) async fn look(
        &mut self,
        commands: &Commands,
        operation: OperationId,
        guest: GuestId,
        progress: &MigrationProgress,
    ) {
        // What is switched, or ended to be, needs no advice.
        if commands.operations.is_to_switch(operation)
            || commands.operations.is_to_be_cancelled(operation)
        {
            return;
        }
        if let Some(settings) = commands.operations.settings(operation) {
            let limits = Limits::of(&settings);
            if limits != self.limits {
                self.state = self.state.allowing(limits);
                self.limits = limits;
            }
        }
        self.wish_again(commands, operation, progress.elapsed_ms);
        let (state, advice) = self.state.step(progress);
        self.state = state;
        for advice in advice {
            info!(%operation, %guest, "{advice}");
            commands.tell_note(operation, advice.to_string());
            if let Err(error) = self.carry_out(commands, operation, guest, &advice, progress).await
            {
                warn!(%operation, action = ?advice.action, %error, "not done");
                commands.tell_note(operation, format!("that could not be done: {error}"));
                self.state = self.state.refused(advice.action);
            }
        }
    }

    async fn carry_out(
        &mut self,
        commands: &Commands,
        operation: OperationId,
        guest: GuestId,
        advice: &Advice,
        progress: &MigrationProgress,
    ) -> Result<(), HypervisorError> {
        let hypervisor = &commands.hypervisor;
        match advice.action {
            Action::SetDowntime(ms) => hypervisor.set_max_downtime(guest, ms).await,
            Action::SetBandwidth(cap) => hypervisor.set_bandwidth(guest, Some(cap)).await,
            // The owner of the guest changes first, and that is the controller's to do.
            Action::SwitchToPostCopy => {
                commands.tell_wants_post_copy(operation, advice.reason.clone());
                self.wish = Some((advice.reason.clone(), progress.elapsed_ms));
                Ok(())
            }
            Action::Pause => hypervisor.suspend(guest).await,
            Action::Abort => {
                commands.operations.give_up(operation, advice.reason.clone());
                hypervisor.cancel_migration(guest).await
            }
            Action::Wait => Ok(()),
        }
    }

    fn wish_again(&mut self, commands: &Commands, operation: OperationId, now_ms: u64) {
        if let Some((reason, told_ms)) = &mut self.wish
            && now_ms >= *told_ms + WISH_AGAIN_MS
        {
            *told_ms = now_ms;
            commands.tell_wants_post_copy(operation, reason.clone());
        }
    }
}
