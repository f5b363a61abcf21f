//! From an assignment to a plan with its reasons.

use std::collections::BTreeSet;

use drover_model::{ClusterView, GuestId};
use drover_rules::{Move, Projection};

use crate::batch::{into_batches, seconds};
use crate::candidate::booked;
use crate::dense::Dense;
use crate::report::{FrontPoint, PlanReport, PlannedMove, Score};
use crate::search::{Lanes, State, order};
use crate::{Budget, Policy, broken};

/// Fronts of more moves than this would take longer than the search.
const FRONT: usize = 600;

/// What came of a search.
pub(crate) struct Arranged {
    pub(crate) batches: Vec<Vec<PlannedMove>>,
    pub(crate) score: Score,
    pub(crate) front: Vec<FrontPoint>,
    pub(crate) broken: (Vec<String>, Vec<String>),
    /// Guests that stay where they are since no order of moves lets them go.
    pub(crate) stuck: Vec<GuestId>,
}

impl Arranged {
    /// Number of moves.
    pub(crate) fn moves(&self) -> usize {
        self.batches.iter().map(Vec::len).sum()
    }

    /// Batches and report under this summary.
    pub(crate) fn reported(self, summary: String) -> (Vec<Vec<PlannedMove>>, PlanReport) {
        let report = PlanReport {
            summary,
            score: Some(self.score),
            front: self.front,
            broken: self.broken,
            stuck: self.stuck,
            ..PlanReport::default()
        };
        (self.batches, report)
    }
}

/// The moves that lead to the assignment, in batches that are feasible at every moment,
/// with reasons.
pub(crate) fn arrange(
    dense: &Dense,
    state: &State<'_>,
    view: &ClusterView,
    policy: &Policy,
    budget: &Budget,
    why: &str,
) -> Arranged {
    let instance = &dense.instance;
    let lanes = Lanes {
        out: budget.max_out_per_host,
        into: budget.max_in_per_host,
        all: budget.max_per_batch,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes are whole")]
    let duration = |unit: usize| seconds(instance.objective.bytes[unit] as u64, policy);
    let order = order(instance, state.assignment(), lanes, &duration);
    let mut projection = Projection::of(view);
    let before = broken::rules(&projection, &policy.placement);
    let mut batches = Vec::new();
    for legs in &order.batches {
        let mut batch = Vec::new();
        for leg in legs {
            let unit = leg.guest as usize;
            let aside = leg.to != state.assignment()[unit];
            let gain = state.shift_delta(unit, instance.home[unit] as usize);
            let worth = match gain {
                _ if aside => "steps aside so that others can pass".to_owned(),
                Some(gain) => format!("{why}; without it the plan were {gain:.4} worse"),
                None => format!(
                    "{why}; it cannot stay: a constraint, or others that take its room, forbid it"
                ),
            };
            for guest in &dense.units[unit] {
                let (from, to) = (dense.hosts[leg.from as usize], dense.hosts[leg.to as usize]);
                let step = Move { guest: *guest, from, to };
                let mut planned = booked(&mut projection, policy, step, &worth);
                planned.gain = gain;
                planned.why_host = format!(
                    "the best of all hosts together with the other moves: {} there",
                    planned.metric.show(planned.to.1)
                );
                batch.push(planned);
            }
        }
        // A unit of several guests may exceed a limit: then they go one after the other.
        batches.extend(into_batches(batch, budget));
    }
    let after = broken::rules(&projection, &policy.placement);
    let home = State::at_home(instance);
    let mut reached = state.assignment().to_vec();
    for unit in &order.dropped {
        reached[*unit as usize] = instance.home[*unit as usize];
    }
    let reached = State::of(instance, reached);
    Arranged {
        batches,
        score: Score { before: home.unevenness(), after: reached.unevenness() },
        front: front(dense, &reached),
        broken: (before, after),
        stuck: order
            .dropped
            .iter()
            .flat_map(|unit| dense.units[*unit as usize].iter().copied())
            .collect(),
    }
}

/// What the first moves achieve when the most useful always comes next. Empty where there
/// are too many to tell in time.
fn front(dense: &Dense, state: &State<'_>) -> Vec<FrontPoint> {
    let mut left: Vec<usize> = state.displaced().iter().map(|unit| *unit as usize).collect();
    left.sort_unstable();
    let mut front = Vec::new();
    if left.len() > FRONT {
        return front;
    }
    let mut walk = State::at_home(&dense.instance);
    let (mut bytes, mut moves) = (0.0, 0);
    loop {
        let next = left
            .iter()
            .enumerate()
            .filter_map(|(place, unit)| {
                Some((walk.shift_delta(*unit, state.host_of(*unit))?, place))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // The rest fits only in exchange for others: no single move of it is a next one.
        let Some((delta, place)) = next else { return front };
        let unit = left.swap_remove(place);
        walk.shift(unit, state.host_of(unit), delta);
        bytes += dense.instance.objective.bytes[unit];
        moves += dense.units[unit].len();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and below 2^53"
        )]
        front.push(FrontPoint { moves, score: walk.unevenness(), bytes: bytes as u64 });
    }
}

/// Guests of a view by name, for sentences.
pub(crate) fn names(view: &ClusterView, guests: &[GuestId]) -> String {
    let sorted: BTreeSet<String> = guests.iter().map(|guest| view.guest_name(*guest)).collect();
    sorted.into_iter().collect::<Vec<String>>().join(", ")
}
