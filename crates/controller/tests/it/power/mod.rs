//! Hosts that are woken and parked, over machines in memory.

mod parks;
mod secrets;
mod stage;
mod wakes;
mod watts;
