//! `drover-agent`: observes a host and its guests and carries out what the controller says,
//! through libvirt.
//!
//! | module | does |
//! |---|---|
//! | [`join`] | from a one-time token to a certificate |
//! | [`Prepared`] | puts the parts below together |
//! | [`session`] | the link to the controller: dials, says hello, delivers, hears |
//! | [`command`] | what the controller orders, behind the epoch gate |
//! | [`migration`] | migrations away from this host, begun or found running |
//! | [`observe`] | what the kernel and libvirt tell, folded into samples |
//!
//! Decisions are pure functions ([`observe::fold`], [`drover_lifecycle::beginning`],
//! [`drover_lifecycle::judge`], …); the rest reads, calls and sends. Which host should run a guest is
//! not known here.

pub mod cli;
mod clock;
pub mod command;
pub mod config;
mod describe;
mod durable;
mod hex;
pub mod identity;
pub mod join;
pub mod migration;
pub mod network;
pub mod observe;
mod random;
mod reach;
mod run;
pub mod session;
pub mod shutdown;
pub mod wiring;

pub use run::Prepared;
