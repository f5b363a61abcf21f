//! The hypervisor port on libvirt.
//!
//! `connection` is a small safe layer over `virt-sys` and the only place with unsafe code;
//! `parse` turns libvirt's XML and statistics into the model; `process` watches QEMU
//! processes, and `emulator` tells their versions; `hypervisor` puts them together. The `virt`
//! crate is not used because it lacks events, job control and a leak-free bulk poll
//! (docs/decisions/0004).

mod connection;
mod emulator;
mod error;
mod hypervisor;
mod images;
mod inspection;
mod outgoing;
mod parse;
mod post_copy;
mod process;
mod reconnect;
mod relocate;

pub use hypervisor::Libvirt;
