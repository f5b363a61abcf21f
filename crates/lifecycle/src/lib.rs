//! Operations as state machines: `step(state, event) → (state, owner change, effects)`.
//!
//! Every state is stored, together with the owner record it implies, before its effects
//! are carried out; every effect may be repeated, so after a crash the shell simply asks
//! [`Migration::effects_again`] and goes on. The machine knows no clock, no network and no store.

mod answer;
pub mod convergence;
mod departure;
mod epoch;
pub mod forecast;
mod migration;
pub mod power;
pub mod queue;
pub mod recovery;

pub use answer::answer;
pub use departure::{Beginning, Look, MAY_HAVE_LEFT_MS, QUIET_LOOKS, Verdict, beginning, judge};
pub use epoch::{Admission, admission};
pub use migration::{
    Effect, Failure, FailureKind, Ignored, Migration, MigrationEvent, MigrationState, OwnerChange,
    Stepped, TargetFate,
};
