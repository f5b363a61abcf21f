//! Faults that no cable and no power switch can make.

mod lost_reply;
pub mod proxy;

pub use lost_reply::{HostEvidence, LostReply, MoveBy, Seen, lose_reply};
pub use proxy::{Direction, ProxyHandle};
