//! The staged search: a descent first, then stages. Each stage is twice as long as the one before and starts afresh, in
//! turn from a low and from a high temperature. Low ones find near improvements soon, high
//! ones leave traps.

use rand_pcg::Pcg64;

use super::anneal::{Schedule, anneal_on_cores};
use super::greedy::{Descent, descend};
use super::instance::Instance;
use super::patience::Trials;
use super::state::State;
use super::walk::Limits;

/// Trials of the first stage: so many, and so many more for each guest that may move, at
/// most so many.
const FIRST: (u64, u64, u64) = (4_000, 12, 800_000);
/// Evaluations of the descent that comes first, and last where moves are limited: a look at
/// more guests and hosts than these is left out.
const DESCENT: Descent = Descent { steepest: 1_000_000, all: 1_000_000 };
/// The same where moves are limited: few moves in a large cluster are found by looking.
const LIMITED_DESCENT: Descent = Descent { steepest: 1_000_000, all: 30_000_000 };
/// Stages beyond this change nothing that anyone waits for.
const MOST_STAGES: u8 = 12;
/// Schedules of the stages, in turn.
const SCHEDULES: [Schedule; 2] =
    [Schedule { hot: 1.0, cold: 3e-3 }, Schedule { hot: 30.0, cold: 1e-2 }];

/// How long a staged search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Stages after the first: each doubles the length and holds all before it, so more is
    /// never worse. At most 12.
    pub stages: u8,
    /// Cores; each searches with a seed of its own.
    pub cores: usize,
}

/// The best assignment that any stage finds from `start`; `start` itself if none is better.
/// The same arguments give the same assignment.
pub fn search<'i>(
    instance: &'i Instance,
    start: &[u32],
    limits: Limits,
    length: Length,
    seed: u64,
) -> State<'i> {
    let mut best = State::of(instance, start.to_vec());
    let descent = if limits == Limits::NONE { DESCENT } else { LIMITED_DESCENT };
    descend(&mut best, limits, descent);
    let (least, each, most) = FIRST;
    let movable = instance.fixed.iter().filter(|fixed| !**fixed).count();
    let movable = u64::try_from(movable).unwrap_or(u64::MAX);
    let first = (least + each.saturating_mul(movable)).min(most);
    for stage in 0..=length.stages.min(MOST_STAGES) {
        let mut state = State::of(instance, start.to_vec());
        let mut own = Pcg64::new(seed.into(), u128::from(stage) + 1);
        let mut patience = Trials::new(first << stage);
        let schedule = SCHEDULES[usize::from(stage) % SCHEDULES.len()];
        anneal_on_cores(&mut state, limits, schedule, &mut patience, length.cores, &mut own);
        if state.cost() < best.cost() {
            best = state;
        }
    }
    if limits != Limits::NONE {
        // Moves that are left are made wherever one gains.
        descend(&mut best, limits, descent);
    }
    best
}
