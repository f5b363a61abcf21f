//! From an assignment to a plan with its reasons.

use std::collections::BTreeMap;

use drover_model::{ClusterView, GuestId, Metric};
use drover_rules::{Move, Projection};

use crate::batch::seconds;
use crate::candidate::bytes_to_move;
use crate::dense::Dense;
use crate::report::{FrontPoint, PlannedMove, Score};
use crate::search::State;
use crate::{Policy, broken};

/// Fronts of more moves than this would take longer than the search.
const FRONT: usize = 600;

/// A unit's move with what it is good for.
struct Step {
    unit: usize,
    to: usize,
    gain: Option<f64>,
}

/// What came of a search.
pub(crate) struct Arranged {
    pub(crate) moves: Vec<PlannedMove>,
    pub(crate) score: Score,
    pub(crate) front: Vec<FrontPoint>,
    pub(crate) broken: (Vec<String>, Vec<String>),
}

/// The moves that lead to the assignment, the most useful first, with reasons.
pub(crate) fn arrange(
    dense: &Dense,
    state: &State<'_>,
    view: &ClusterView,
    policy: &Policy,
    why: &str,
) -> Arranged {
    let (steps, front) = ordered(dense, state);
    let mut projection = Projection::of(view);
    let before = broken::rules(&projection, &policy.placement);
    let mut moves = Vec::new();
    for step in &steps {
        for step_of in dense.moves_of(step.unit, step.to) {
            let planned = planned(&mut projection, policy, step_of, step.gain, why);
            moves.push(planned);
        }
    }
    let after = broken::rules(&projection, &policy.placement);
    let home = State::at_home(&dense.instance);
    let score = Score { before: home.unevenness(), after: state.unevenness() };
    Arranged { moves, score, front, broken: (before, after) }
}

/// Steps in the order that gains most with each next one, and what is had after each.
fn ordered(dense: &Dense, state: &State<'_>) -> (Vec<Step>, Vec<FrontPoint>) {
    let mut left: Vec<usize> = state.displaced().iter().map(|unit| *unit as usize).collect();
    left.sort_unstable();
    let gain = |unit: usize| state.shift_delta(unit, dense.instance.home[unit] as usize);
    let mut steps = Vec::new();
    let mut front = Vec::new();
    if left.len() > FRONT {
        let mut gains: Vec<(Option<f64>, usize)> =
            left.into_iter().map(|unit| (gain(unit), unit)).collect();
        gains.sort_by(|a, b| {
            b.0.unwrap_or(f64::INFINITY)
                .total_cmp(&a.0.unwrap_or(f64::INFINITY))
                .then(a.1.cmp(&b.1))
        });
        let steps = gains
            .into_iter()
            .map(|(gain, unit)| Step { unit, to: state.host_of(unit), gain })
            .collect();
        return (steps, front);
    }
    let mut walk = State::at_home(&dense.instance);
    let mut bytes = 0.0;
    while !left.is_empty() {
        let next = left
            .iter()
            .enumerate()
            .filter_map(|(place, unit)| {
                Some((walk.shift_delta(*unit, state.host_of(*unit))?, place))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // What fits only once another has left comes last, in any order.
        let (delta, place) = next.unwrap_or((0.0, 0));
        let unit = left.remove(place);
        if next.is_some() {
            walk.shift(unit, state.host_of(unit), delta);
            bytes += dense.instance.objective.bytes[unit];
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive and below 2^53"
            )]
            front.push(FrontPoint {
                moves: steps.len() + 1,
                score: walk.unevenness(),
                bytes: bytes as u64,
            });
        }
        steps.push(Step { unit, to: state.host_of(unit), gain: gain(unit) });
    }
    (steps, front)
}

/// One move with what it changes; books it.
pub(crate) fn planned(
    projection: &mut Projection<'_>,
    policy: &Policy,
    step: Move,
    gain: Option<f64>,
    why: &str,
) -> PlannedMove {
    let metric = Metric::CpuUsageActive;
    let value = |projection: &Projection<'_>, host| projection.value(host, metric).unwrap_or(0.0);
    let before = (value(projection, step.from), value(projection, step.to));
    let bytes = bytes_to_move(projection, step.guest);
    projection.book(step);
    let after = (value(projection, step.from), value(projection, step.to));
    let worth = match gain {
        Some(gain) => format!("without it the plan were {gain:.4} worse"),
        None => "others need the room that it leaves".to_owned(),
    };
    PlannedMove {
        step,
        bytes,
        why_guest: format!("{why}; {worth}"),
        why_host: format!(
            "the best of all hosts together with the other moves: {} there",
            metric.show(after.1)
        ),
        metric,
        from: (before.0, after.0),
        to: (before.1, after.1),
        gain,
        seconds: seconds(bytes, policy),
    }
}

/// Guests of a view by name, for sentences.
pub(crate) fn names(view: &ClusterView, guests: &[GuestId]) -> String {
    let sorted: BTreeMap<String, ()> =
        guests.iter().map(|guest| (view.guest_name(*guest), ())).collect();
    sorted.into_keys().collect::<Vec<String>>().join(", ")
}
