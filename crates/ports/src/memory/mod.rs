//! In-memory twins of the ports: for tests and the simulator.

mod clock;
mod history;
mod hypervisor;
mod image;
mod inspection;
mod power;
mod store;

pub use clock::MemoryClock;
pub use history::{MemoryHistory, roll_up};
pub use hypervisor::{MemoryHosts, MemoryHypervisor};
pub use image::FileSink;
pub use power::{BmcFault, MemoryOwnBmc, MemoryPower};
pub use store::{MemoryStore, check_limits};
