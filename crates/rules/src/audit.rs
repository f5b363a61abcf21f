//! Checks a whole plan, independently of the search that made it.

use drover_model::GuestId;

use crate::constraint::Constraint;
use crate::placement_rule::{PlacementKind, Scope};
use crate::{Move, PlacementPolicy, Projection, Refusal, check_movable, check_placement};

/// A move of a plan that breaks a constraint at its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Batch number, from 0.
    pub batch: usize,
    /// The move.
    pub step: Move,
    /// What it breaks.
    pub refusal: Refusal,
}

/// Plays the batches in order: within one batch every guest holds resources on both hosts,
/// after it only on its target. Returns every broken constraint; empty means feasible at
/// every moment.
pub fn check_plan(
    start: &Projection<'_>,
    policy: &PlacementPolicy,
    batches: &[Vec<Move>],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut settled = start.clone();
    for (number, batch) in batches.iter().enumerate() {
        let mut during = settled.clone();
        for step in batch {
            // A guest may step aside and move on in a later batch.
            let moves_on =
                settled.is_moved(step.guest) && settled.host_of(step.guest) == Some(step.from);
            let movable = check_movable(&settled, policy, step.guest)
                .into_iter()
                .filter(|refusal| !(moves_on && refusal.constraint == Constraint::UnderWay));
            let placed = check_placement(&during, policy, step.guest, step.to)
                .into_iter()
                // Judged at the end: members of a group arrive one after the other.
                .filter(|refusal| refusal.constraint != Constraint::Together);
            violations.extend(movable.chain(placed).map(|refusal| Violation {
                batch: number,
                step: *step,
                refusal,
            }));
            during.book_target(step.guest, step.to);
        }
        for step in batch {
            settled.book(*step);
        }
        settled.settle();
    }
    violations.extend(torn(start, &settled, policy, batches));
    violations
}

/// Groups that the plan has torn apart: more members outside the fullest domain than before.
fn torn(
    start: &Projection<'_>,
    end: &Projection<'_>,
    policy: &PlacementPolicy,
    batches: &[Vec<Move>],
) -> Vec<Violation> {
    let outside = |projection: &Projection<'_>, guests: &[GuestId], scope: &Scope| {
        let counts = projection.places(&policy.labels, scope, guests);
        counts.values().sum::<usize>() - counts.values().max().copied().unwrap_or(0)
    };
    let mut violations = Vec::new();
    for rule in policy.rules.iter().filter(|rule| rule.is_required()) {
        let PlacementKind::Together { guests, scope } = &rule.kind else { continue };
        if outside(end, guests, scope) <= outside(start, guests, scope) {
            continue;
        }
        let steps =
            batches.iter().enumerate().flat_map(|(n, batch)| batch.iter().map(move |s| (n, s)));
        violations.extend(steps.filter(|(_, step)| guests.contains(&step.guest)).map(
            |(batch, step)| Violation {
                batch,
                step: *step,
                refusal: Refusal {
                    constraint: Constraint::Together,
                    reason: format!("the plan tears `{}` apart", rule.name),
                },
            },
        ));
    }
    violations
}
