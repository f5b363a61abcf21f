//! Wire types, one file per resource.

mod agent;
mod baseline;
mod check;
mod drain;
mod event;
mod forecast;
mod guest;
mod guest_policy;
mod host;
mod metric;
mod operation;
mod placement;
mod plan;
mod policy;
mod power;
mod power_policy;
mod preview;
mod rule;
mod token;
mod watch;
mod watts;

pub use agent::*;
pub use baseline::*;
pub use check::*;
pub use drain::*;
pub use event::*;
pub use forecast::*;
pub use guest::*;
pub use guest_policy::*;
pub use host::*;
pub use metric::*;
pub use operation::*;
pub use placement::*;
pub use plan::*;
pub use policy::*;
pub use power::*;
pub use power_policy::*;
pub use preview::*;
pub use rule::*;
pub use token::*;
pub use watch::*;
pub use watts::*;

/// A moment: RFC 3339 in UTC with milliseconds, e.g. `2026-11-21T05:00:00.000Z`.
pub type Time = String;

/// A page of things.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct List<T> {
    /// The things.
    pub items: Vec<T>,
}
