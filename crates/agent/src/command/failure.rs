//! Failures as they are told to the controller.

use drover_agent_api::v1::{Failure, FailureKind};
use drover_lifecycle::FailureKind as Kind;
use drover_ports::HypervisorError;

use super::epoch::EpochRefusal;
use crate::images::claims::ClaimError;

/// A failure of one kind.
pub fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure { kind: kind.into(), message: message.into() }
}

/// A kind of failure as the protocol has it.
pub const fn wire(kind: Kind) -> FailureKind {
    match kind {
        Kind::Retry => FailureKind::Retry,
        Kind::Conflict => FailureKind::Conflict,
        // No agent makes the check before a move.
        Kind::Refused | Kind::Preflight => FailureKind::Refused,
        Kind::Gone => FailureKind::Gone,
        Kind::Cancelled => FailureKind::Cancelled,
        Kind::Broken => FailureKind::Broken,
        Kind::StaleEpoch => FailureKind::StaleEpoch,
    }
}

/// What the hypervisor's error means for the controller.
pub fn of_hypervisor(error: &HypervisorError) -> Failure {
    let kind = match error {
        HypervisorError::Retry(_) => FailureKind::Retry,
        HypervisorError::Conflict(_) => FailureKind::Conflict,
        HypervisorError::Refused(_) => FailureKind::Refused,
        HypervisorError::Gone(_) => FailureKind::Gone,
        HypervisorError::Cancelled(_) => FailureKind::Cancelled,
        HypervisorError::Broken(_) => FailureKind::Broken,
    };
    failure(kind, error.to_string())
}

/// What the epoch gate's refusal means for the controller. A full disk passes, so it is
/// worth asking again.
pub fn of_epoch(refusal: &EpochRefusal) -> Failure {
    let kind = match refusal {
        EpochRefusal::Stale { .. } => FailureKind::StaleEpoch,
        EpochRefusal::NotDurable { .. } => FailureKind::Retry,
    };
    failure(kind, refusal.to_string())
}

/// What a claim that was not made or ended means for the controller. A disk that is full for
/// the list of claims passes.
pub fn of_claim(error: &ClaimError) -> Failure {
    let kind = match error {
        ClaimError::Place(_) => FailureKind::Refused,
        ClaimError::NotDurable(_) | ClaimError::NotRemoved { .. } => FailureKind::Retry,
    };
    failure(kind, error.to_string())
}
