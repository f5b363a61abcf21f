//! Target: check what arrived of a guest that is shut off, and define it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use drover_agent_api::v1::{DefineIncoming, Failure, FailureKind};
use drover_model::{ColdCopy, CopiedDisk, OperationId};

use super::failure::{failure, of_claim, of_hypervisor};
use super::turns::Turn;
use super::{Commands, Order, decode, off_runtime};
use crate::images::checksum;
use crate::images::claims::Claims;

/// Operations whose disks are being checked: each is read once, however often it is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Checks(Arc<Mutex<BTreeSet<OperationId>>>);

/// One of them.
struct Check(Checks, OperationId);

impl Checks {
    fn begin(&self, operation: OperationId) -> Option<Check> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(operation).then(|| Check(self.clone(), operation))
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Commands {
    /// The guest stays shut off. Not held in line while the disks are read: a discard need
    /// not wait for that.
    pub(super) async fn define_incoming(
        &self,
        order: &Order,
        define: DefineIncoming,
        turn: Turn,
    ) -> Result<(), Failure> {
        let copied: ColdCopy = decode("copy", &define.copied_json)?;
        let Some(check) = self.checks.begin(order.operation) else {
            return Err(failure(FailureKind::Retry, "its disks are being read"));
        };
        drop(turn);
        let (claims, operation) = (Arc::clone(&self.claims), order.operation);
        let disks = copied.disks;
        off_runtime(move || disks.iter().try_for_each(|disk| verify(&claims, operation, disk)))
            .await??;
        let _turn = self.turns.take(order.guest).await;
        drop(check);
        self.not_overtaken(order)?;
        self.define_for(order, copied.definition).await
    }

    /// Defines a guest that is not active here, for an operation that can take it back.
    pub(super) async fn define_for(
        &self,
        order: &Order,
        definition: String,
    ) -> Result<(), Failure> {
        match self.guest(order.guest).await {
            Ok(Some(guest)) if guest.state.is_active() => {
                let message = format!("it is {} on this host already", guest.state.as_str());
                return Err(failure(FailureKind::Conflict, message));
            }
            Ok(_) => {}
            Err(error) => return Err(of_hypervisor(&error)),
        }
        let claims = Arc::clone(&self.claims);
        let (operation, guest) = (order.operation, order.guest);
        off_runtime(move || claims.will_define(operation, guest))
            .await?
            .map_err(|error| of_claim(&error))?;
        let defined = self.hypervisor.define(order.guest, definition).await;
        defined.map_err(|error| of_hypervisor(&error))
    }
}

/// What arrived must be what was sent, in the file that was made for it.
fn verify(claims: &Claims, operation: OperationId, disk: &CopiedDisk) -> Result<(), Failure> {
    let refused = |message: String| failure(FailureKind::Refused, message);
    let path = &disk.path;
    if !claims.holds(operation, path) {
        return Err(refused(format!("{path} is not the file that was made for the copy")));
    }
    let (length, sum) = checksum::of_file(Path::new(path))
        .map_err(|error| refused(format!("{path} cannot be read: {error}")))?;
    if length != disk.length.0 {
        return Err(refused(format!("{path} has {length} bytes, and {} were sent", disk.length.0)));
    }
    if sum != disk.sha256 {
        return Err(refused(format!(
            "{path} is not what was sent: its SHA-256 is {sum}, not {}",
            disk.sha256
        )));
    }
    Ok(())
}
