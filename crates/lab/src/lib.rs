//! drover-lab: a whole cluster of real hypervisors on one Linux machine.
//!
//! Each host is a set of namespaces (net, mount, pid, uts, ipc) with its own libvirtd and
//! agent, both run on the root file system of a Debian release; guests are real QEMU processes; the controller has namespaces of its own. A
//! switch namespace holds three bridges: management, storage and guests. Namespaces are
//! made with ip(8), unshare(1) and nsenter(1): kept tools, and no unsafe code of ours.

#![allow(clippy::print_stdout, reason = "the demonstration is what it prints")]
#![allow(clippy::print_stderr, reason = "PID 1 of a host has no other log than stderr")]

pub mod addresses;
pub mod bmc;
mod check;
mod check_machine;
mod claim;
mod demo;
mod domain_xml;
pub mod fault;
pub mod guest;
mod guests;
pub mod hear;
mod hostconfig;
mod hostinit;
mod image;
mod lab;
mod network;
mod pki;
pub mod powercap;
pub mod probe;
mod release;
mod root;
mod sanlock;
mod spec;
mod storage;
mod targets;
pub mod tools;
mod uplift;

pub use addresses::Network;
pub use check::{KernelLog, MemoryCheck, Pages, Ring};
pub use check_machine::{MachineCheck, MovesReport};
pub use demo::{demo, demo_power};
pub use hear::{HearHandle, Heard};
pub use hostinit::host_init;
pub use image::make_image;
pub use lab::{HostStatus, Lab, LinkState};
pub use probe::{Gap, ProbeHandle, ProbeReport};
pub use release::{GuestMemory, Release, Releases, program};
pub use spec::{LabSpec, MAX_GUESTS, MAX_HOSTS};
pub use storage::{GuestDisk, GuestLease, GuestStorage, Initiator, Locks, initiator};
pub use uplift::Drover;
