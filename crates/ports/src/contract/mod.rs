//! One contract suite per port. The twin and every adapter run the same.
//!
//! A suite is an async function that panics with the names of all promises that the
//! implementation does not keep. Each promise is one check on a fresh implementation.

pub mod history;
pub mod hypervisor;
pub mod power;
mod report;
pub mod store;

pub use report::{Kept, Unkept};
