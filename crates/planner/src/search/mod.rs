//! The search engine: any placement problem, stated densely, is improved by exact deltas.

mod anneal;
mod census;
mod force;
mod greedy;
mod group;
mod instance;
mod loads;
mod moments;
mod order;
mod patience;
mod staged;
mod state;
mod walk;

pub use anneal::{Schedule, anneal, anneal_on_cores};
pub use greedy::{Descent, descend};
pub use group::{BROKEN, Group, Law, LawKind};
pub use instance::{Class, Imbalance, Instance, NONE, Objective, Stranded};
pub use order::{Lanes, Leg, Order, order};
pub use patience::{Patience, Trials};
pub use staged::{Length, search};
pub use state::State;
pub(crate) use state::{count, index};
pub use walk::Limits;
