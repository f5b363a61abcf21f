//! Hosts that are switched on and off, as `step(state, event, now) → (state, effects)`.
//!
//! [`Wake`] ends when the host is proven to be of use again, [`Park`] when it is proven to be
//! off. Both keep what the migration's machine keeps: a state is stored before its effects are
//! carried out, every effect may be repeated, and after a crash the shell asks
//! [`Wake::effects`] or [`Park::effects`] and goes on. Time is an argument.

mod learned;
mod park;
mod settings;
mod wake;

pub use learned::WakeTimes;
pub use park::{OffProof, Park, ParkEffect, ParkEvent, ParkFailure, ParkState};
pub use settings::{ParkSettings, Pauses, WakeSettings};
pub use wake::{Lack, Sight, Wake, WakeEffect, WakeEvent, WakeFailure, WakeState};
