//! droverd: state, rules, planning, operations and the public API.
//!
//! ```text
//!  agents ─gRPC─► link ─► engine ─► records ─► store        (what happens)
//!                  │         ▲         ▲
//!                  ▼         │         │
//!               history    launch ◄─ reconcile ◄─ driver     (what is decided, and when)
//!                                      ▲
//!  users ─HTTPS─► http ────────────────┘
//! ```
//! Decisions live in `drover-rules`, `drover-planner` and `drover-lifecycle`; this crate
//! loads what they need, stores what they say and carries it out. Concrete adapters are
//! named in `wiring` only.

pub mod admission;
pub mod baseline;
pub mod begin;
pub mod ca;
pub mod churn;
pub mod config;
pub mod continuity;
pub mod drain;
pub mod driver;
pub mod engine;
pub mod events;
pub mod files;
pub mod foresight;
pub mod guest_policy;
pub mod http;
pub mod inventory;
pub mod launch;
pub mod link;
pub mod live;
pub mod moment;
mod notes;
pub mod outlook;
pub mod picture;
pub mod placement;
pub mod power;
pub mod power_line;
pub mod preflight;
pub mod queue;
pub mod reconcile;
pub mod records;
pub mod saving;
pub mod tokens;
pub mod view;
pub mod waker;
pub mod wiring;
