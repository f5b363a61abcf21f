//! The simulator as its callers use it.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]

mod fixture;
mod oscillation;
mod page;
mod properties;
mod readers;
mod stories;
