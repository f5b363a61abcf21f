//! Reconcilers: no input, no sleep, no retry; load, decide, act, report. The driver owns
//! time and may run any of them at any moment.

mod advance;
pub mod balance;
mod copies;
pub mod drain;
mod hosts;
mod housekeeping;
mod operations;
mod parked;
mod plans;
mod power;
pub mod power_caps;
mod power_lines;
pub mod rule_wake;
pub mod rules;
pub mod saving;
mod watts;

use async_trait::async_trait;

pub use advance::AdvancePlans;
pub use balance::BalanceCluster;
pub use copies::ReviewCopies;
pub use drain::DrainHosts;
pub use hosts::WatchHosts;
pub use housekeeping::KeepHouse;
pub use operations::CarryOutOperations;
pub use parked::NoteParked;
pub use plans::FollowPlans;
pub use power::SwitchHosts;
pub use power_caps::KeepPowerCaps;
pub use power_lines::LearnPowerLines;
pub use rules::EvaluateRules;
pub use saving::ManagePower;
pub use watts::MeasureBmcs;

/// One reconciler.
#[async_trait]
pub trait Reconcile: Send + Sync {
    /// Its name in logs and metrics.
    fn name(&self) -> &'static str;
    /// One turn.
    async fn reconcile(&self) -> anyhow::Result<()>;
}

/// Their parts are trait objects: the name is all there is to show.
macro_rules! debug_by_name {
    ($($kind:ident),+) => {$(
        impl std::fmt::Debug for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($kind)).finish_non_exhaustive()
            }
        }
    )+};
}

debug_by_name!(
    WatchHosts,
    KeepHouse,
    FollowPlans,
    EvaluateRules,
    ReviewCopies,
    BalanceCluster,
    DrainHosts,
    ManagePower,
    AdvancePlans,
    LearnPowerLines,
    KeepPowerCaps,
    NoteParked
);
