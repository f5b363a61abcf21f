//! Owns time: runs each reconciler at its interval, one turn at a time, and catches what
//! it throws. The simulator has its own.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::MissedTickBehavior;

use crate::reconcile::Reconcile;

/// Runs a reconciler for ever.
pub fn every(interval: Duration, reconciler: Arc<dyn Reconcile>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let turn = std::panic::AssertUnwindSafe(reconciler.reconcile()).catch_unwind();
            match turn.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(reconciler = reconciler.name(), "{error:#}");
                }
                Err(_) => tracing::error!(reconciler = reconciler.name(), "it panicked: a bug"),
            }
        }
    })
}
