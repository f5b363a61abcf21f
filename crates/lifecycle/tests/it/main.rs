//! The migration's state machine: its paths as tables. Loss, repeat and crash at every step
//! are the crash simulator's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod convergence;
mod forecast;
mod paths;
mod power;
mod precopy;
mod queue;

use drover_lifecycle::{Failure, FailureKind, Migration, MigrationState};
use drover_model::{
    Epoch, GuestId, HostId, MigrationSettings, OperationId, OwnerPhase, OwnerRecord,
};

const SOURCE: HostId = HostId::from_u128(1);
const TARGET: HostId = HostId::from_u128(2);
const GUEST: GuestId = GuestId::from_u128(7);

fn admitted() -> Migration {
    let owner =
        OwnerRecord { guest: GUEST, host: SOURCE, epoch: Epoch(5), phase: OwnerPhase::Settled };
    Migration::new(OperationId::from_u128(9), owner, TARGET, MigrationSettings::default())
}

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, message: format!("{kind:?}") }
}

fn in_state(state: MigrationState) -> Migration {
    Migration { state, epoch: Epoch(6), ..admitted() }
}
