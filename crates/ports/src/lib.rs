//! What the core needs from outside, as traits.
//!
//! Each port has an in-memory twin (`memory`) and one contract suite
//! (`contract`) that the twin and every adapter must pass.
//! Errors are named by what the caller does next.

mod clock;
mod history;
mod hypervisor;
mod inspection;
mod power;
mod store;

pub mod contract;
pub mod memory;

pub use clock::Clock;
pub use history::{
    Entity, History, HistoryError, MAX_OVERDUE, MAX_SERIES_POINTS, Point, Resolution, Retention,
    SamplePoint, SeriesPoint,
};
pub use hypervisor::{
    GuestStats, HostDescription, Hypervisor, HypervisorError, HypervisorEvent, ImageSink,
    IncomingDisposal, MAX_DIRTY_WINDOW_S, OutgoingMigration,
};
pub use inspection::{CpuCounts, Inspection};
pub use power::{Bmc, OwnBmc, POWER_TIMEOUT_S, Power, PowerError, Secret};
pub use store::{
    Change, Expected, Generation, MAX_CHANGES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Store, StoreError,
    Versioned, WatchEvent,
};
