//! How fast a guest dirties its memory.

use drover_agent_api::v1::query_answer::Answer;
use drover_agent_api::v1::{Failure, FailureKind, MeasureDirtying};
use drover_model::GuestId;

use super::Queries;
use crate::command::failure::{failure, of_hypervisor};

/// Longest sum of the windows that is measured, seconds: who asks waits so long.
const LONGEST_S: u32 = 60;

impl Queries {
    /// One window after the other: two at once would compare the same sample.
    pub(super) async fn measure_dirtying(
        &self,
        measure: &MeasureDirtying,
    ) -> Result<Answer, Failure> {
        let guest: GuestId = measure
            .guest_id
            .parse()
            .map_err(|_| failure(FailureKind::Refused, "the guest's id is none"))?;
        let sum = measure.seconds.iter().fold(0_u32, |sum, one| sum.saturating_add(*one));
        if sum > LONGEST_S {
            let message = format!("{sum} s are too long to measure: {LONGEST_S} s at most");
            return Err(failure(FailureKind::Refused, message));
        }
        let mut windows = Vec::new();
        for seconds in &measure.seconds {
            let measured = self.commands.hypervisor.measure_dirtying(guest, *seconds).await;
            windows.push(measured.map_err(|error| of_hypervisor(&error))?);
        }
        let json = serde_json::to_vec(&windows)
            .map_err(|error| failure(FailureKind::Broken, error.to_string()))?;
        Ok(Answer::DirtiedJson(json))
    }
}
