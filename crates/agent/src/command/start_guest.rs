//! Target: start a guest that is shut off.

use drover_agent_api::v1::{Failure, FailureKind, StartGuest};
use drover_model::GuestState;

use super::failure::{failure, of_hypervisor};
use super::turns::Turn;
use super::{Commands, Order};

impl Commands {
    /// Defines it first where a definition is given. That it runs already is as good.
    pub(super) async fn start_guest(
        &self,
        order: &Order,
        start: StartGuest,
        _turn: Turn,
    ) -> Result<(), Failure> {
        self.not_overtaken(order)?;
        self.arrivals.admit()?;
        let found = self.guest(order.guest).await.map_err(|error| of_hypervisor(&error))?;
        match found.map(|guest| guest.state) {
            Some(GuestState::Running) => {
                self.has_arrived(order.guest);
                return Ok(());
            }
            Some(GuestState::ShutOff) | None => {}
            Some(state) => {
                let message = format!("it is {} on this host already", state.as_str());
                return Err(failure(FailureKind::Conflict, message));
            }
        }
        if !start.definition.is_empty() {
            self.define_for(order, start.definition).await?;
        }
        let started = self.hypervisor.start_guest(order.guest).await;
        started.map_err(|error| of_hypervisor(&error))?;
        self.has_arrived(order.guest);
        Ok(())
    }
}
