//! The migrations that this agent knows of, since it started.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_agent_api::v1::{Failure, migration_update::Body};
use drover_model::{
    ColdCopy, Epoch, GuestId, MigrationOutcome, MigrationProgress, MigrationSettings, OperationId,
};

/// Finished migrations that are remembered, so that a repeated question gets its answer. One
/// that is forgotten is answered by what the hypervisor says.
const MAX_FINISHED: usize = 256;

/// Where a migration is.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// The job runs, so far as known.
    Running(Option<MigrationProgress>),
    /// The transfer broke after the switch to post-copy: the job is not over, and stands still.
    Broken(Failure),
    /// No process of the guest is left; libvirt has not said yet that the job is over.
    SourceGone,
    /// Over, and the guest is gone.
    Finished(MigrationOutcome),
    /// A guest that is shut off has been copied.
    Copied(ColdCopy),
    /// Over, and the guest did not go.
    Failed(Failure),
}

#[derive(Debug)]
struct Operation {
    id: OperationId,
    guest: GuestId,
    epoch: Epoch,
    status: Status,
    cancel: bool,
    /// Why this agent ended it by itself.
    given_up: Option<String>,
    /// The settings that were asked for last.
    settings: MigrationSettings,
    /// It is to be switched to post-copy.
    post_copy: bool,
    /// Its running job can be; none where another run of this agent began it.
    job: Option<JobKind>,
}

/// What a job can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Arrive paused.
    PreCopy,
    /// Be switched to post-copy.
    PostCopy,
}

/// The migrations that this agent knows of.
#[derive(Debug, Default)]
pub struct Operations {
    list: Mutex<VecDeque<Operation>>,
}

impl Status {
    const fn is_over(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Copied(_) | Self::Failed(_))
    }

    /// What is told of it; none when there is nothing to tell yet.
    pub fn body(&self) -> Option<Body> {
        match self {
            Self::Running(None) => None,
            Self::Running(Some(progress)) => {
                serde_json::to_vec(progress).ok().map(Body::ProgressJson)
            }
            Self::Broken(why) => Some(Body::PostCopyFailed(why.clone())),
            Self::SourceGone => Some(Body::SourceGone(true)),
            Self::Finished(outcome) => serde_json::to_vec(outcome).ok().map(Body::FinishedJson),
            Self::Copied(copied) => serde_json::to_vec(copied).ok().map(Body::CopiedJson),
            Self::Failed(failure) => Some(Body::Failed(failure.clone())),
        }
    }
}

impl Operations {
    /// Whether it is known.
    pub fn knows(&self, id: OperationId) -> bool {
        self.list().iter().any(|operation| operation.id == id)
    }

    /// Whether a migration of the guest is not over.
    pub fn is_leaving(&self, guest: GuestId) -> bool {
        self.list().iter().any(|operation| operation.guest == guest && !operation.status.is_over())
    }

    /// Guests whose migrations are not over.
    pub fn under_way(&self) -> Vec<GuestId> {
        let list = self.list();
        list.iter().filter(|found| !found.status.is_over()).map(|found| found.guest).collect()
    }

    /// Notes a migration that begins or is found running.
    pub fn begin(&self, id: OperationId, guest: GuestId, epoch: Epoch) {
        let mut list = self.list();
        let over = list.iter().filter(|operation| operation.status.is_over()).count();
        if over >= MAX_FINISHED
            && let Some(oldest) = list.iter().position(|operation| operation.status.is_over())
        {
            list.remove(oldest);
        }
        list.push_back(Operation {
            id,
            guest,
            epoch,
            status: Status::Running(None),
            cancel: false,
            given_up: None,
            settings: MigrationSettings::default(),
            post_copy: false,
            job: None,
        });
    }

    /// Notes what the job that begins now can do.
    pub fn begins_as(&self, id: OperationId, kind: JobKind) {
        if let Some(operation) = self.list().iter_mut().find(|operation| operation.id == id) {
            operation.job = Some(kind);
        }
    }

    /// Whether its job can be switched to post-copy, as far as is known.
    pub fn allows_post_copy(&self, id: OperationId) -> bool {
        let list = self.list();
        list.iter().any(|found| found.id == id && found.job != Some(JobKind::PreCopy))
    }

    /// Notes how it is to be done from now on, and what was asked for before.
    pub fn ask_for(
        &self,
        id: OperationId,
        settings: &MigrationSettings,
        post_copy: bool,
    ) -> Option<MigrationSettings> {
        let mut list = self.list();
        let operation = list.iter_mut().find(|operation| operation.id == id)?;
        operation.post_copy |= post_copy;
        Some(std::mem::replace(&mut operation.settings, settings.clone()))
    }

    /// The settings that were asked for last.
    pub fn settings(&self, id: OperationId) -> Option<MigrationSettings> {
        let list = self.list();
        list.iter().find(|operation| operation.id == id).map(|found| found.settings.clone())
    }

    /// Whether it is to be switched to post-copy.
    pub fn is_to_switch(&self, id: OperationId) -> bool {
        self.list().iter().any(|operation| operation.id == id && operation.post_copy)
    }

    /// Moves a migration on; false when that would lead backwards.
    pub fn advance(&self, id: OperationId, to: Status) -> bool {
        let mut list = self.list();
        let Some(operation) = list.iter_mut().find(|operation| operation.id == id) else {
            return false;
        };
        let forward = match (&operation.status, &to) {
            (Status::Running(_) | Status::Broken(_), _) => true,
            (Status::SourceGone, to) => to.is_over(),
            (Status::Finished(_) | Status::Copied(_) | Status::Failed(_), _) => false,
        };
        if forward {
            operation.status = to;
        }
        forward
    }

    /// Whose it is, and the epoch under which it began here.
    pub fn began(&self, id: OperationId) -> Option<(GuestId, Epoch)> {
        let list = self.list();
        let operation = list.iter().find(|operation| operation.id == id)?;
        Some((operation.guest, operation.epoch))
    }

    /// Where it is, and whose it is.
    pub fn status(&self, id: OperationId) -> Option<(GuestId, Status)> {
        let list = self.list();
        let operation = list.iter().find(|operation| operation.id == id)?;
        Some((operation.guest, operation.status.clone()))
    }

    /// Somebody wants it cancelled.
    pub fn ask_to_cancel(&self, id: OperationId) {
        if let Some(operation) = self.list().iter_mut().find(|operation| operation.id == id) {
            operation.cancel = true;
        }
    }

    /// Somebody wants the guest to stay; whether a migration of it may still be ended.
    pub fn ask_all_to_cancel(&self, guest: GuestId) -> bool {
        let mut any = false;
        for operation in self.list().iter_mut().filter(|operation| operation.guest == guest) {
            if matches!(operation.status, Status::Running(_)) {
                operation.cancel = true;
                any = true;
            }
        }
        any
    }

    /// This agent ends it by itself, for this reason.
    pub fn give_up(&self, id: OperationId, reason: String) {
        if let Some(operation) = self.list().iter_mut().find(|operation| operation.id == id) {
            operation.given_up = Some(reason);
        }
    }

    /// Why this agent ended it, unless somebody wanted it cancelled as well.
    pub fn given_up(&self, id: OperationId) -> Option<String> {
        let list = self.list();
        let found = list.iter().find(|operation| operation.id == id && !operation.cancel)?;
        found.given_up.clone()
    }

    /// Whether somebody wants it cancelled.
    pub fn is_to_be_cancelled(&self, id: OperationId) -> bool {
        self.list().iter().any(|operation| operation.id == id && operation.cancel)
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Operation>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_never_moves_backwards() {
        let operations = Operations::default();
        let (id, guest) = (OperationId::from_u128(1), GuestId::from_u128(2));
        operations.begin(id, guest, Epoch(1));
        assert!(operations.is_leaving(guest));
        assert_eq!(operations.under_way(), [guest]);
        assert!(operations.advance(id, Status::Running(Some(MigrationProgress::default()))));
        assert!(operations.advance(id, Status::SourceGone));
        assert!(!operations.advance(id, Status::Running(None)));
        assert!(!operations.advance(id, Status::SourceGone));
        assert!(operations.advance(id, Status::Finished(MigrationOutcome::default())));
        assert!(!operations.advance(id, Status::Failed(Failure::default())));
        assert!(!operations.is_leaving(guest));
        assert_eq!(operations.under_way(), []);
        assert!(!operations.advance(OperationId::from_u128(9), Status::SourceGone));
    }

    #[test]
    fn only_finished_migrations_are_forgotten() {
        let operations = Operations::default();
        let id = |number: usize| OperationId::from_u128(number as u128);
        let guest = |number: usize| GuestId::from_u128(number as u128);
        operations.begin(id(0), guest(0), Epoch(1));
        for number in 1..=MAX_FINISHED + 10 {
            operations.begin(id(number), guest(number), Epoch(1));
            operations.advance(id(number), Status::Failed(Failure::default()));
        }
        assert!(operations.knows(id(0)));
        assert!(!operations.knows(id(1)));
        assert!(operations.knows(id(MAX_FINISHED + 10)));
        assert!(operations.list().len() <= MAX_FINISHED + 1);
    }
}
