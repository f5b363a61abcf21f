//! The `PlanetLab` consolidation experiment: 800 hosts, a guest for each trace, 24 hours, a
//! step every 300 s, replayed under published policies and under Drover's.
//!
//! The rules are those of the public experiment shipped with `CloudSim` 3.0.3 (its `power`
//! package and the `examples/power/planetlab` runners), made anew from an understanding of
//! what they compute. Items that follow one of its rules name the class the rule comes
//! from; no code of it is here. With file names sorted, deterministic policies give its
//! energy, migrations and shutdowns to the last printed digit. What matters for that:
//!
//! - Guests claim memory only while they are created; afterwards it never binds.
//! - A guest whose demand is exactly zero at an update is taken for completed for good.
//! - A host at zero utilisation draws nothing; waking it is free.
//! - Best-fit ties between hosts of a kind are decided by rounding, so the order of
//!   operations in `drover_model::PowerCurve` matters.
//! - Overload is looked at again when a batch of migrations ends.
//! - A host counts as short while it receives a guest.
//! - Energy before the first step and after the last is not counted.
//!
//! `engine` owns the clock and the accounts, `policies` decide. A policy sees demand now
//! and before, never the trace itself.

mod catalog;
mod engine;
mod host;
mod metrics;
mod policies;
pub(crate) mod power;
mod shares;
mod stats;
mod traces;
mod vm;

use std::path::PathBuf;

use engine::{Engine, Memory};
pub(crate) use metrics::Report;

/// Replays one day of `PlanetLab` traces under a policy of consolidation.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder with one trace for each guest: 288 lines, a whole percentage each.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// `drover`, or a published rule of overload (`thr`, `iqr`, `lr`) and one of selection
    /// (`mmt`, `rs`), such as `lr-mmt`.
    #[arg(long)]
    pub(crate) policy: String,
    /// For random selection.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Guests keep their memory once they run; not part of the published experiment.
    #[arg(long)]
    pub(crate) keep_memory: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut policy = policies::named(&arguments.policy, arguments.seed)?;
    let traces = traces::read_day(&arguments.dir)?;
    let memory = if arguments.keep_memory { Memory::Kept } else { Memory::Released };
    Engine::new(traces, memory).run(policy.as_mut())
}
