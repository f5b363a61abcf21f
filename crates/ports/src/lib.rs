//! What the core needs from outside, as traits.
//!
//! Each port has an in-memory twin (`memory`) and one contract suite
//! (`contract`) that the twin and every adapter must pass.
//! Errors are named by what the caller does next.

mod clock;
mod history;
mod hypervisor;
mod store;

pub mod contract;
pub mod memory;

pub use clock::Clock;
pub use history::{
    MAX_SERIES_POINTS,
    Entity, History, HistoryError, Point, Resolution, Retention, SamplePoint, SeriesPoint,
};
pub use hypervisor::{
    GuestStats, HostDescription, Hypervisor, HypervisorError, HypervisorEvent, IncomingDisposal,
    OutgoingMigration,
};
pub use store::{MAX_CHANGES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Change, Expected, Generation, Store, StoreError, Versioned, WatchEvent};
