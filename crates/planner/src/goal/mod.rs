//! What plans are for, one goal per file. Each states the dense problem and its objective;
//! the search is the same for all.

mod admit;
mod awake;
mod balance;
mod consolidate;
mod drain;
mod repair;
mod resize;
mod restart;
mod several;
mod shed;
mod untangle;

pub(crate) use admit::admit;
pub use awake::as_if_awake;
pub(crate) use balance::balance;
pub(crate) use consolidate::consolidate;
pub(crate) use drain::drain;
pub(crate) use repair::repair;
pub(crate) use resize::resize;
pub use restart::as_if_running;
pub(crate) use restart::restart;
pub(crate) use several::several;
pub(crate) use shed::shed;
pub(crate) use untangle::untangle;

use crate::report::{PlanReport, PlannedMove};

/// Batches of moves, and the report of a goal.
pub(crate) type Outcome = (Vec<Vec<PlannedMove>>, PlanReport);
