//! Tells the controller how far a migration is. Nothing here waits: the source's end is on
//! the path during which the guest stands still.

use drover_agent_api::v1::{Failure, FailureKind, MigrationUpdate, migration_update::Body};
use drover_model::{GuestId, MigrationOutcome, MigrationProgress, OperationId};
use tracing::{info, warn};

use super::operations::Status;
use crate::command::Commands;
use crate::command::failure::failure;

impl Commands {
    /// Says again where the migration is.
    pub(crate) fn report(&self, operation: OperationId) {
        if let Some((guest, status)) = self.operations.status(operation)
            && let Some(body) = status.body()
        {
            self.tell(operation, guest, body);
        }
    }

    pub(super) fn tell_progress(&self, operation: OperationId, progress: MigrationProgress) {
        if self.operations.advance(operation, Status::Running(Some(progress))) {
            self.report(operation);
        }
    }

    /// The transfer broke after the switch to post-copy; it is not over.
    pub(super) fn tell_post_copy_failed(&self, operation: OperationId, why: &Failure) {
        warn!(%operation, reason = why.message, "post-copy broke");
        if self.operations.advance(operation, Status::Broken(why.clone())) {
            self.report(operation);
        }
    }

    /// No process of the guest is left here.
    pub(super) fn tell_source_gone(&self, operation: OperationId) {
        if self.operations.advance(operation, Status::SourceGone) {
            self.report(operation);
            info!(%operation, "the guest's process is gone from this host");
        }
    }

    /// What is done about the transfer, for the operator. Not told again: the story may miss a
    /// sentence.
    pub(super) fn tell_note(&self, operation: OperationId, note: String) {
        if let Some((guest, _)) = self.operations.status(operation) {
            self.tell(operation, guest, Body::Note(note));
        }
    }

    /// The transfer does not end otherwise.
    pub(super) fn tell_wants_post_copy(&self, operation: OperationId, reason: String) {
        if let Some((guest, _)) = self.operations.status(operation) {
            self.tell(operation, guest, Body::WantsPostCopy(reason));
        }
    }

    /// The job is over.
    pub(crate) async fn conclude(
        &self,
        operation: OperationId,
        outcome: Result<MigrationOutcome, Failure>,
    ) {
        let status = match outcome {
            Ok(outcome) => Status::Finished(outcome),
            Err(failure) => Status::Failed(self.why_ended(operation, failure)),
        };
        let shown = status.clone();
        if let (Status::Failed(_), Some((guest, epoch))) =
            (&status, self.operations.began(operation))
        {
            self.tells_over(guest, epoch).await;
        }
        if self.operations.advance(operation, status) {
            self.report(operation);
        }
        match shown {
            Status::Failed(why) => {
                warn!(%operation, kind = ?why.kind(), reason = why.message, "the migration failed");
            }
            _ => info!(%operation, "the migration is finished"),
        }
    }

    /// libvirt says that the job was cancelled, also where nobody asked for that.
    fn why_ended(&self, operation: OperationId, said: Failure) -> Failure {
        match self.operations.given_up(operation) {
            Some(reason) if said.kind() == FailureKind::Cancelled => {
                failure(FailureKind::Conflict, reason)
            }
            _ => said,
        }
    }

    fn tell(&self, operation: OperationId, guest: GuestId, body: Body) {
        self.outbox.send(MigrationUpdate {
            operation_id: operation.to_string(),
            guest_id: guest.to_string(),
            body: Some(body),
        });
    }
}
