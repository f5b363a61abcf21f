//! What rules would do: the real windows, rules, planner and migration state machine on a
//! modelled cluster with modelled time, load, links and failures.
//!
//! [`run`] takes a [`Settings`] and gives a [`RunReport`]; the same settings give the same
//! report. `read` makes clusters and traces of files, `page` shows reports as HTML. Only
//! `read::files` touches the file system; nothing knows a clock.

mod cluster;
mod failure;
mod load;
pub mod page;
mod power;
pub mod read;
mod report;
mod settings;
mod tally;
mod trace;
mod transfer;
mod world;

pub use cluster::{
    Cluster, ClusterError, DEFAULT_LINK, GuestSpec, HostSpec, limits as cluster_limits,
};
pub use failure::by_chance;
pub use power::{NAMED as NAMED_CURVES, NoCurve, PowerCurve};
pub use report::{
    ClusterPoint, Comparison, Figures, Forecast, HostSeries, MAX_POINTS, MoveReport, RunReport,
};
pub use settings::{
    Failure, Model, Replayed, Settings, SettingsError, fitting_interval, limits as run_limits,
};
pub use trace::{Step, StepError, Trace, limits as trace_limits};
pub use world::run;
