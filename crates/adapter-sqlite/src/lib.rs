//! The store and the metric history on SQLite.
//!
//! Two files: a guest's owner waits for the store's commit and must not wait behind
//! metrics. Each file has one thread that writes and one connection that reads.

mod file;
mod history;
mod store;
mod worker;

pub use file::OpenError;
pub use history::SqliteHistory;
pub use store::SqliteStore;
