//! Migrations away from this host.
//!
//! ```text
//!            ┌─ depart ─► job runs ─► process gone ─► job over ─► Finished
//!  Start ────┤              │  connection to libvirtd lost
//!            │              ▼
//!            └─ follow ─► ask again and again ─► gone: Finished, still here: Failed
//! ```
//!
//! `depart` calls libvirt and is told the end by it. `follow` is for a job that nobody here
//! waits for: the agent was restarted, or the connection broke; libvirt's peer-to-peer job
//! goes on without its client.

pub(crate) mod adjust;
mod cancel;
pub(crate) mod cold;
mod converge;
pub mod depart;
pub mod follow;
pub mod operations;
mod post_copy;
mod tell;

pub use post_copy::RecoveryPace;
