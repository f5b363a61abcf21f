//! Descent: moves that gain, the best first, until none gains.
//!
//! It is what a long search must beat, and all there is time for when few moves may be made
//! in a large cluster.

use super::instance::Instance;
use super::state::State;
use super::walk::Limits;

/// How much a descent may evaluate: one evaluation is of one guest on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descent {
    /// For steepest descent: a look at all guests and hosts for each move.
    pub steepest: u64,
    /// In all: where steepest descent would take more than its part, one look makes many
    /// moves. A descent that may go on without a limit ends too, since every look gains.
    pub all: u64,
}

/// Makes shifts that gain until none does or a limit is reached; false when another look
/// would exceed the evaluations, and there may be moves left that gain.
pub fn descend(state: &mut State<'_>, limits: Limits, descent: Descent) -> bool {
    let instance: &Instance = state.instance();
    let look = Look {
        guests: (0..instance.guests()).filter(|guest| !instance.fixed[*guest]).collect(),
        hosts: (0..instance.hosts()).filter(|host| !instance.closed[*host]).collect(),
        limits,
    };
    let each = u64::try_from(look.guests.len() * look.hosts.len()).unwrap_or(u64::MAX);
    let mut done: u64 = 0;
    loop {
        done = done.saturating_add(each);
        let gains = if done <= descent.steepest {
            look.best_move(state)
        } else if done <= descent.all {
            look.many_moves(state)
        } else {
            return false;
        };
        if !gains {
            return true;
        }
    }
}

/// Smaller gains, as a part of the cost, are rounding.
const GAIN: f64 = 1e-12;

/// What is looked at again and again.
struct Look {
    guests: Vec<usize>,
    hosts: Vec<usize>,
    limits: Limits,
}

impl Look {
    /// Makes the move that gains most; false when none gains.
    fn best_move(&self, state: &mut State<'_>) -> bool {
        let mut best = (least_gain(state), None);
        for guest in &self.guests {
            if let Some((delta, host)) = self.best_host(state, *guest, best.0) {
                best = (delta, Some((*guest, host)));
            }
        }
        let (delta, Some((guest, host))) = best else { return false };
        state.shift(guest, host, delta);
        true
    }

    /// Makes each guest's best move, those that gain most first, as long as it still gains
    /// half of what it did before the others; false when none gains.
    fn many_moves(&self, state: &mut State<'_>) -> bool {
        let least = least_gain(state);
        let of = |guest: &usize| {
            self.best_host(state, *guest, least).map(|(delta, host)| (delta, *guest, host))
        };
        let mut moves: Vec<(f64, usize, usize)> = self.guests.iter().filter_map(of).collect();
        moves.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (before, guest, host) in &moves {
            if may_leave(state, self.limits, *guest)
                && let Some(delta) = state.shift_delta_below(*guest, *host, before / 2.0)
            {
                state.shift(*guest, *host, delta);
            }
        }
        !moves.is_empty()
    }

    /// Where a guest gains most, if it gains more than `bar`.
    fn best_host(&self, state: &State<'_>, guest: usize, bar: f64) -> Option<(f64, usize)> {
        if !may_leave(state, self.limits, guest) {
            return None;
        }
        let mut best = (bar, None);
        for host in &self.hosts {
            if let Some(delta) = state.shift_delta_below(guest, *host, best.0)
                && delta < best.0
            {
                best = (delta, Some(*host));
            }
        }
        Some((best.0, best.1?))
    }
}

fn least_gain(state: &State<'_>) -> f64 {
    -GAIN * state.cost().abs().min(1.0)
}

fn may_leave(state: &State<'_>, limits: Limits, guest: usize) -> bool {
    let size = state.instance().objective.bytes.get(guest).copied().unwrap_or(0.0);
    state.is_displaced(guest)
        || (state.displaced().len() < limits.moves && state.bytes() + size <= limits.bytes)
}
