//! Move some guests because someone asked for it.

use drover_model::{ClusterView, GuestId, HostId};
use drover_rules::constraint::Constraint;
use drover_rules::{Move, Projection, check_placement};
use rand::Rng;

use super::Outcome;
use crate::arrange::names;
use crate::batch::into_batches;
use crate::candidate::{booked, guest_refusals, least_loaded, targets};
use crate::report::{PlanReport, PlannedMove, RefusedMove};
use crate::{Budget, Policy};

/// Orders in which guests are placed when the first leaves some without a host.
const ORDERS: usize = 16;

/// Each guest goes to the host that is least loaded with it and all that were placed before,
/// the largest first; where that leaves some without a host, these first. All of them may move
/// at once: each target has the room while every source still holds its guests. A guest that
/// no host can take is named with every reason.
pub(crate) fn several(
    view: &ClusterView,
    policy: &Policy,
    guests: &[GuestId],
    to: Option<HostId>,
    budget: &Budget,
    rng: &mut impl Rng,
) -> Outcome {
    let mut order = largest_first(&Projection::of(view), guests);
    let mut best = in_order(view, policy, &order, to, rng);
    let mut last = best.1.unplaced.clone();
    for _ in 1..ORDERS {
        // Who comes first already has no host in any order.
        if best.1.unplaced.is_empty() || order.starts_with(&last) {
            break;
        }
        order.retain(|guest| !last.contains(guest));
        order.splice(0..0, last);
        let next = in_order(view, policy, &order, to, rng);
        last = next.1.unplaced.clone();
        if last.len() < best.1.unplaced.len() {
            best = next;
        }
    }
    let (moves, mut report) = best;
    report.summary = if report.unplaced.is_empty() {
        format!("{} guest(s) move", moves.len())
    } else {
        let (left, all) = (report.unplaced.len(), guests.len());
        format!("{left} of {all} guest(s) cannot move: {}", names(view, &report.unplaced))
    };
    (into_batches(moves, budget), report)
}

fn in_order(
    view: &ClusterView,
    policy: &Policy,
    order: &[GuestId],
    to: Option<HostId>,
    rng: &mut impl Rng,
) -> (Vec<PlannedMove>, PlanReport) {
    // While all are under way sources still hold their guests; afterwards they do not. Room is
    // judged by the first, what guests wish about each other by both.
    let mut during = Projection::of(view);
    let mut after = during.clone();
    let mut moves: Vec<PlannedMove> = Vec::new();
    let mut report = PlanReport::default();
    for guest in order.iter().copied() {
        match place(&during, &after, policy, guest, to, rng) {
            Ok((step, feasible)) => {
                during.book_target(step.guest, step.to);
                let planned = booked(&mut after, policy, step, "it was asked for");
                let why_host = to.map_or_else(
                    || format!("least loaded of {feasible} feasible host(s) once it is there"),
                    |_| "it was asked for".to_owned(),
                );
                moves.push(PlannedMove { why_host, ..planned });
            }
            Err(refused) => {
                report.refused.extend(refused);
                report.unplaced.push(guest);
            }
        }
    }
    (moves, report)
}

/// The move, and among how many hosts it was chosen; or everything against it.
fn place(
    during: &Projection<'_>,
    after: &Projection<'_>,
    policy: &Policy,
    guest: GuestId,
    to: Option<HostId>,
    rng: &mut impl Rng,
) -> Result<(Move, usize), Vec<RefusedMove>> {
    let own = guest_refusals(during, &policy.placement, guest);
    if !own.is_empty() {
        return Err(own);
    }
    let against = |host: Option<HostId>, constraint: Constraint, reason: String| RefusedMove {
        guest,
        host,
        constraint,
        reason,
    };
    let home = during.host_of(guest);
    if let Some(home) = home.filter(|home| to == Some(*home)) {
        return Err(vec![against(Some(home), Constraint::Place, "it is there already".to_owned())]);
    }
    let (mut feasible, mut refused) = targets(during, &policy.placement, guest);
    feasible.retain(|host| {
        let then = check_placement(after, &policy.placement, guest, *host);
        let allowed = then.is_empty();
        refused
            .extend(then.into_iter().map(|one| against(Some(*host), one.constraint, one.reason)));
        allowed
    });
    if let Some(to) = to {
        feasible.retain(|host| *host == to);
        refused.retain(|one| one.host == Some(to));
    }
    let chosen = least_loaded(during, guest, &feasible, rng);
    match (home, chosen) {
        (Some(from), Some(to)) => Ok((Move { guest, from, to }, feasible.len())),
        _ if refused.is_empty() => {
            Err(vec![against(None, Constraint::Known, "there is no other host".to_owned())])
        }
        _ => Err(refused),
    }
}

/// Large guests have the fewest places: they choose first. Each guest once.
fn largest_first(projection: &Projection<'_>, guests: &[GuestId]) -> Vec<GuestId> {
    let mut sorted = guests.to_vec();
    sorted.sort_by(|a, b| {
        let demand = |guest: &GuestId| projection.memory_demand(*guest);
        demand(b).total_cmp(&demand(a)).then(a.cmp(b))
    });
    sorted.dedup();
    sorted
}
