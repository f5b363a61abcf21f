//! What an agent decides about a guest that leaves its host, by what its hypervisor says.
//!
//! The agent asks and waits; here it is only judged. The crash simulator runs the same code.

mod begin;
mod judge;

pub use begin::{Beginning, beginning};
pub use judge::{Look, MAY_HAVE_LEFT_MS, QUIET_LOOKS, Verdict, judge};
