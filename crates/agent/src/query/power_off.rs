//! Switches this host off, in order.
//!
//! Who asks has emptied the host; this is the last look before its guests would die with it.
//! Unknown means no.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{Failure, FailureKind, PoweringOff};
use drover_model::GuestId;
use tokio::process::Command;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Queries;
use crate::command::failure::{failure, of_hypervisor};

/// How long the command may take to say no. `systemctl poweroff` returns at once; one that
/// waits for the end is taken for working. Below the controller's wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// As much of what the command complained is told.
const LONGEST_COMPLAINT: usize = 500;

impl Queries {
    /// Refused while a guest is active here, leaves or is expected, and where that cannot be
    /// told. From then on no guest is let in, unless the command fails.
    pub(super) async fn power_off(&self) -> Result<Answer, Failure> {
        let Some((program, arguments)) = self.off_command.split_first() else {
            let message = "this host's agent.toml forbids it: power.off_command is empty";
            return Err(failure(FailureKind::Refused, message));
        };
        let arrivals = &self.commands.arrivals;
        arrivals.shut().map_err(|guests| busy("is expected here", &guests))?;
        let outcome = match self.nobody_is_here().await {
            Ok(()) => run(program, arguments).await,
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok(()) => {
                info!(command = self.off_command.join(" "), "switching this host off");
                Ok(Answer::PoweringOff(PoweringOff {}))
            }
            Err(refused) => {
                arrivals.open();
                warn!(reason = refused.message, "this host stays on");
                Err(refused)
            }
        }
    }

    async fn nobody_is_here(&self) -> Result<(), Failure> {
        let leaving = self.commands.operations.under_way();
        if !leaving.is_empty() {
            return Err(busy("is leaving", &leaving));
        }
        let claims = Arc::clone(&self.commands.claims);
        let copied = tokio::task::spawn_blocking(move || claims.being_copied()).await;
        let copied = copied.map_err(|error| failure(FailureKind::Broken, error.to_string()))?;
        if !copied.is_empty() {
            return Err(busy("is being copied here", &copied));
        }
        let guests = self.commands.hypervisor.guests(self.commands.host).await;
        let guests = guests.map_err(|error| of_hypervisor(&error))?;
        match guests.iter().find(|guest| guest.state.is_active()) {
            None => Ok(()),
            Some(guest) => {
                let message = format!("guest {} is {} here", guest.name, guest.state.as_str());
                Err(failure(FailureKind::Conflict, message))
            }
        }
    }
}

fn busy(how: &str, guests: &[GuestId]) -> Failure {
    let names: Vec<String> = guests.iter().map(ToString::to_string).collect();
    failure(FailureKind::Conflict, format!("guest {} {how}", names.join(", ")))
}

/// Well when the command ended well, or has not ended in time.
async fn run(program: &str, arguments: &[String]) -> Result<(), Failure> {
    let broken = |why: String| {
        let hint = "see power.off_command in agent.toml";
        failure(
            FailureKind::Broken,
            format!("`{program}` did not switch the host off: {why}; {hint}"),
        )
    };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| broken(error.to_string()))?;
    // In a task of its own, so that it goes on when nobody waits any more.
    let ended = tokio::spawn(child.wait_with_output());
    match timeout(PATIENCE, ended).await {
        Err(_) => Ok(()),
        Ok(Ok(Ok(output))) if output.status.success() => Ok(()),
        Ok(Ok(Ok(output))) => {
            let said: String = String::from_utf8_lossy(&output.stderr)
                .trim()
                .chars()
                .take(LONGEST_COMPLAINT)
                .collect();
            Err(broken(format!("{} {said}", output.status).trim_end().to_owned()))
        }
        Ok(Ok(Err(error))) => Err(broken(error.to_string())),
        Ok(Err(error)) => Err(broken(error.to_string())),
    }
}
