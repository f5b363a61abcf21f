//! Placement policies.
//!
//! A policy is a pure function of a [`LoadView`] (plus its own memory): it never sees the traces.

mod baseline;
mod iqr;
mod lr;
mod plan;
mod select;
mod threshold;

use anyhow::{Result, bail};
use drover_planner::consolidate::{Consolidate, LoadMove, LoadView};

use super::traces::INTERVAL;
use baseline::{Baseline, Overload};
use iqr::Iqr;
use lr::LocalRegression;
use select::{MinimumMigrationTime, RandomSelection};
use threshold::Threshold;

/// Decides where VMs run.
pub(crate) trait Policy {
    /// Host of every VM at creation, when each claims its full size; or which VM has none.
    fn place(&mut self, view: &LoadView) -> Result<Vec<usize>>;

    /// Migrations to start at a scheduling step.
    fn replan(&mut self, view: &LoadView) -> Vec<LoadMove>;
}

impl Policy for Consolidate {
    fn place(&mut self, view: &LoadView) -> Result<Vec<usize>> {
        Ok(Self::place(self, view)?)
    }

    fn replan(&mut self, view: &LoadView) -> Vec<LoadMove> {
        Self::replan(self, view)
    }
}

/// The policy of this name: `drover`, or a published rule of overload (`thr`, `iqr`, `lr`)
/// and one of selection (`mmt`, `rs`).
pub(crate) fn named(name: &str, seed: u64) -> Result<Box<dyn Policy>> {
    match name.split_once('-') {
        None if name == "drover" => Ok(Box::new(Consolidate::default())),
        Some(("thr", select)) => baseline(Threshold { limit: 0.8 }, select, seed),
        Some(("iqr", select)) => baseline(Iqr { safety: 1.5 }, select, seed),
        Some(("lr", select)) => {
            baseline(LocalRegression { safety: 1.2, interval_s: INTERVAL }, select, seed)
        }
        _ => bail!(
            "there is no policy `{name}`: `drover`, or `thr`, `iqr` or `lr` with `-mmt` or `-rs`"
        ),
    }
}

/// Couples a rule of overload with the rule of selection of this name.
fn baseline<O: Overload + 'static>(
    overload: O,
    select: &str,
    seed: u64,
) -> Result<Box<dyn Policy>> {
    Ok(match select {
        "mmt" => Box::new(Baseline { overload, select: MinimumMigrationTime }),
        "rs" => Box::new(Baseline { overload, select: RandomSelection::new(seed) }),
        other => bail!("there is no rule of selection `{other}`: `mmt` or `rs`"),
    })
}
