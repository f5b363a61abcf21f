//! Hosts that are woken and parked, over machines in memory.

mod called_back;
mod parks;
mod secrets;
mod stage;
mod wakes;
mod watts;
