//! The controller's parts together, without a network: the API's router over in-memory
//! ports, and the engine with agents that answer as the test says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod api;
mod balance;
mod check;
mod drain;
mod emulation;
mod engine;
mod inventory;
mod meddling;
mod plans;
mod post_copy;
mod power;
mod preflight;
mod queue;
mod saving;
mod watts;
mod world;
