//! Plans around what hosts say: plans, looks at the moves, and plans anew without those that
//! their hosts speak against.
//!
//! What checks have found before does not count: whoever asks may have removed the cause, and it
//! is looked at now.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use drover_model::{GuestId, HostId, MigrationSettings};
use drover_planner::Plan;
use drover_rules::Move;

use super::Api;
use super::check::{add_lifted, look_at_plan};
use super::reply::Failed;
use crate::picture::Picture;
use crate::preflight::Cleared;
use crate::preflight::memory::add;

/// What to do with a move of which nothing is known but that a host did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It is not made.
    Blocks,
    /// It stays in the plan: its hosts are asked again when its turn comes.
    Waits,
}

/// A plan that was looked at.
pub(super) struct Looked<T> {
    /// What was planned last.
    pub(super) planned: T,
    /// Moves that nothing speaks against.
    pub(super) cleared: Vec<Cleared>,
    /// Moves of which their hosts did not tell in time.
    pub(super) unasked: usize,
}

/// Looks at what `plan` makes of the picture, until nothing speaks against any of its moves or
/// `patience` is over: what is left then is looked at when its turn comes.
pub(super) async fn plan_around<T, F>(
    api: &Api,
    picture: Picture,
    settings: &MigrationSettings,
    (patience, silence): (Duration, Silence),
    plan: impl Fn(Picture) -> F,
    plan_of: fn(&T) -> &Plan,
) -> Result<Looked<T>, Failed>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut picture = picture.under(settings);
    picture.placement.refused.clear();
    let mut cleared: Vec<Cleared> = Vec::new();
    let mut silent: BTreeSet<(GuestId, HostId)> = BTreeSet::new();
    let until = Instant::now() + patience;
    loop {
        let planned = plan(picture.clone()).await?;
        let moves: Vec<Move> = plan_of(&planned).moves().map(|step| step.step).collect();
        let known = |step: &Move| {
            let pair = (step.guest, step.to);
            silent.contains(&pair) || cleared.iter().any(|one| (one.guest, one.to) == pair)
        };
        let new: Vec<Move> = moves.iter().filter(|step| !known(step)).copied().collect();
        let left = until.saturating_duration_since(Instant::now());
        let looked = look_at_plan(api, &new, settings, Some(left)).await?;
        cleared.extend(looked.clear);
        let waits = silence == Silence::Waits;
        let (quiet, blocked): (Vec<_>, Vec<_>) =
            looked.blocked.into_iter().partition(|one| waits && one.is_silence());
        silent.extend(quiet.iter().map(|one| (one.guest, one.to)));
        if blocked.is_empty() || left.is_zero() {
            cleared.retain(|one| moves.iter().any(|of| (of.guest, of.to) == (one.guest, one.to)));
            add_lifted(&picture.view, &picture.placement, &mut cleared);
            let unasked = moves.len().saturating_sub(cleared.len());
            return Ok(Looked { planned, cleared, unasked });
        }
        for one in &blocked {
            let refusal = one.refusal(settings, picture.view.at);
            add(&mut picture.placement.refused, one, refusal);
        }
    }
}
