//! What is measured: readings of the kernel and of libvirt, folded into samples and kept
//! until the controller has them.

pub mod buffer;
pub mod capabilities;
pub mod fold;
pub mod nics;
pub mod parse;
pub mod power;
pub mod read;
pub mod sampler;
pub mod snapshot;
pub mod uplink;
