//! Reconcilers: no input, no sleep, no retry; load, decide, act, report. The driver owns
//! time and may run any of them at any moment.

mod hosts;
mod housekeeping;
mod operations;
mod plans;
pub mod rules;

use async_trait::async_trait;

pub use hosts::WatchHosts;
pub use housekeeping::KeepHouse;
pub use operations::CarryOutOperations;
pub use plans::FollowPlans;
pub use rules::EvaluateRules;

/// One reconciler.
#[async_trait]
pub trait Reconcile: Send + Sync {
    /// Its name in logs and metrics.
    fn name(&self) -> &'static str;
    /// One turn.
    async fn reconcile(&self) -> anyhow::Result<()>;
}
