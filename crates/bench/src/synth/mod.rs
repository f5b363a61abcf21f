//! `drover-bench synth`: the product's planner on made clusters.

mod cluster;

use std::time::Instant;

use anyhow::ensure;
use drover_model::HostId;
use drover_planner::{Budget, Goal, Level, Policy, plan};
use drover_rules::{Projection, audit};
use rand_pcg::Pcg64;
use serde::Serialize;

/// Most hosts and guests that are made: ten times what Drover is for.
const MOST_HOSTS: usize = 20_000;
const MOST_GUESTS: usize = 400_000;

/// What is asked of the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ask {
    /// Even out the load.
    Balance,
    /// Empty one host of a hundred, at least one.
    Drain,
    /// Place the guests of one host of a hundred, at least one, that died.
    Restart,
    /// Empty what can be spared.
    Consolidate,
    /// Restore broken wishes.
    Repair,
}

/// Arguments of `synth`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Hosts.
    #[arg(long)]
    hosts: usize,
    /// Guests.
    #[arg(long)]
    guests: usize,
    /// Seed of the cluster and of the search.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What for.
    #[arg(long, value_enum, default_value = "balance")]
    ask: Ask,
    /// Most moves.
    #[arg(long, default_value_t = usize::MAX)]
    max_moves: usize,
    /// Length of the search: each step doubles it.
    #[arg(long)]
    effort: Option<u8>,
}

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) hosts: usize,
    pub(crate) guests: usize,
    pub(crate) rules: usize,
    pub(crate) score_before: Option<f64>,
    pub(crate) score_after: Option<f64>,
    pub(crate) moves: usize,
    pub(crate) gib_moved: f64,
    pub(crate) batches: usize,
    pub(crate) unplaced: usize,
    /// Wishes that were broken before the plan and are after it.
    pub(crate) violations_before: usize,
    pub(crate) violations_after: usize,
    /// Moves that the independent audit objects to.
    pub(crate) audit_violations: usize,
    /// Of planning, without making the cluster and the audit.
    pub(crate) seconds: f64,
    pub(crate) audit_seconds: f64,
    pub(crate) peak_rss_mib: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Figures> {
    ensure!(arguments.hosts >= 2, "a cluster has at least 2 hosts");
    ensure!(
        arguments.hosts <= MOST_HOSTS && arguments.guests <= MOST_GUESTS,
        "at most {MOST_HOSTS} hosts and {MOST_GUESTS} guests"
    );
    let mut rng = Pcg64::new(arguments.seed.into(), 7);
    let made = cluster::make(arguments.hosts, arguments.guests, &mut rng);
    let affected: Vec<HostId> = {
        let step = (made.view.hosts.len() / (arguments.hosts / 100).max(1)).max(1);
        made.view.hosts.keys().copied().step_by(step).take((arguments.hosts / 100).max(1)).collect()
    };
    let goal = match arguments.ask {
        Ask::Balance => Goal::Balance { level: Level::Moderate },
        Ask::Drain => Goal::Drain { hosts: affected },
        Ask::Restart => Goal::Restart { hosts: affected },
        Ask::Consolidate => Goal::Consolidate { spare: 1 },
        Ask::Repair => Goal::Repair,
    };
    let restarts = matches!(goal, Goal::Restart { .. });
    let policy = Policy::new(goal, made.placement);
    let defaults = Budget::default();
    let budget = Budget {
        max_moves: arguments.max_moves,
        max_per_batch: 64.max(arguments.hosts / 10),
        effort: arguments.effort.unwrap_or(defaults.effort),
        ..defaults
    };
    let begun = Instant::now();
    let (plan, report) = plan(&made.view, &policy, &budget, &mut rng);
    let seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let audited = if restarts {
        // Starts have no source; the search's own bookkeeping is all there is to ask.
        0
    } else {
        audit::check_plan(&Projection::of(&made.view), &policy.placement, &plan.steps()).len()
    };
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let gib_moved = plan.moves().map(|step| step.bytes).sum::<u64>() as f64 / f64::from(1 << 30);
    Ok(Figures {
        hosts: made.view.hosts.len(),
        guests: made.view.guests.len(),
        rules: policy.placement.rules.len(),
        score_before: report.score.map(|score| score.before),
        score_after: report.score.map(|score| score.after),
        moves: plan.moves().count(),
        gib_moved,
        batches: plan.batches.len(),
        unplaced: report.unplaced.len(),
        violations_before: report.broken.0.len(),
        violations_after: report.broken.1.len(),
        audit_violations: audited,
        seconds,
        audit_seconds: begun.elapsed().as_secs_f64(),
        peak_rss_mib: crate::output::peak_rss_mib(),
    })
}
