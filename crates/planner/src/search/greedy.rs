//! Steepest descent: the best single move again and again.
//!
//! It is what a long search must beat, and all there is time for when few moves may be made
//! in a large cluster.

use super::instance::Instance;
use super::state::State;
use super::walk::Limits;

/// Makes the shift that gains most until none gains, a limit is reached or another look at
/// all guests and hosts would exceed `evaluations`.
pub fn descend(state: &mut State<'_>, limits: Limits, evaluations: u64) {
    let instance: &Instance = state.instance();
    let guests: Vec<usize> =
        (0..instance.guests()).filter(|guest| !instance.fixed[*guest]).collect();
    let hosts: Vec<usize> = (0..instance.hosts()).filter(|host| !instance.closed[*host]).collect();
    let each = u64::try_from(guests.len() * hosts.len()).unwrap_or(u64::MAX);
    let mut left = evaluations;
    while left >= each && each > 0 {
        left -= each;
        let mut best = (-GAIN * state.cost().abs().min(1.0), None);
        for guest in &guests {
            if !may_leave(state, limits, *guest) {
                continue;
            }
            for host in &hosts {
                if let Some(delta) = state.shift_delta_below(*guest, *host, best.0)
                    && delta < best.0
                {
                    best = (delta, Some((*guest, *host)));
                }
            }
        }
        let (delta, Some((guest, host))) = best else { return };
        state.shift(guest, host, delta);
    }
}

/// Smaller gains, as a part of the cost, are rounding.
const GAIN: f64 = 1e-12;

fn may_leave(state: &State<'_>, limits: Limits, guest: usize) -> bool {
    let size = state.instance().objective.bytes.get(guest).copied().unwrap_or(0.0);
    state.is_displaced(guest)
        || (state.displaced().len() < limits.moves && state.bytes() + size <= limits.bytes)
}
