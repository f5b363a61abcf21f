//! Deterministic simulator: the real rules and planner on a modelled cluster with modelled
//! time and load. Today it answers one question: can rules make guests oscillate?
//!
//! Every tick all hosts are sampled, the rule is evaluated over its window and, unless a
//! plan is under way, a plan is made and its first batch begun, just as the controller
//! does. Moves take time; the load of guests changes by chance meanwhile.

mod world;

pub use world::{Moved, Settings, World};
