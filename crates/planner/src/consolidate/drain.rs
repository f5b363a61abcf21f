//! Emptying hosts that are not needed.

use super::Parameters;
use super::scratch::Scratch;

/// Number of hosts of `capacity` compute units that carry a load of `mean` compute units and `variance`, spread
/// evenly, with `sigmas` standard deviations of reserve on each.
///
/// With `n` hosts each has mean `mean / n` and deviation `sqrt(variance / n)`; setting their
/// weighted sum equal to the capacity is a quadratic in `sqrt(n)`.
pub(crate) fn hosts_needed(mean: f64, variance: f64, sigmas: f64, capacity: f64) -> f64 {
    let spread = sigmas * variance.sqrt();
    let root = (spread + (spread * spread + 4.0 * capacity * mean).sqrt()) / (2.0 * capacity);
    root * root
}

/// Empties as many hosts as the load leaves idle, the cheapest to empty first, and stops at the
/// first that is needed, cannot be emptied or is not worth it.
pub(super) fn drain(scratch: &mut Scratch<'_>, parameters: &Parameters) {
    let mut active = scratch.active();
    // the hosts worth keeping come first: efficient, then costly to empty
    active.sort_by(|&a, &b| {
        let efficient = scratch.watts_per_unit(a).total_cmp(&scratch.watts_per_unit(b));
        efficient.then(cost(scratch, b).total_cmp(&cost(scratch, a))).then(a.cmp(&b))
    });
    let total = scratch.total(&active);
    while let Some((&host, rest)) = active.split_last() {
        if rest.is_empty() {
            return;
        }
        let each = scratch.total(rest).capacity / rest.len() as f64;
        let needed = hosts_needed(total.mean, total.variance, parameters.drain_sigmas, each);
        let saved = scratch.view.hosts[host].power.watts(0.0);
        let moves = scratch.slots[host].guests.len() as f64;
        if needed > rest.len() as f64
            || moves * parameters.watts_per_move > saved
            || !empty(scratch, host, rest, parameters)
        {
            return;
        }
        active.pop();
    }
}

/// What emptying `host` costs: moves first, then megabytes to copy.
fn cost(scratch: &Scratch<'_>, host: usize) -> f64 {
    let guests = &scratch.slots[host].guests;
    let image_mb: f64 = guests.iter().map(|&guest| scratch.view.guests[guest].image_mb).sum();
    guests.len() as f64 * 1e6 + image_mb
}

/// Moves every guest of `host` to the host among `targets` that keeps the largest reserve, most
/// demanding guest first. Leaves everything in place and returns false if one does not fit.
fn empty(
    scratch: &mut Scratch<'_>,
    host: usize,
    targets: &[usize],
    parameters: &Parameters,
) -> bool {
    let before = scratch.clone();
    let mut guests = scratch.slots[host].guests.clone();
    guests.sort_by(|&a, &b| scratch.demand[b].mean.total_cmp(&scratch.demand[a].mean));
    for guest in guests {
        let Some(to) = scratch.roomiest(guest, targets, 1.0, parameters.fit_sigmas) else {
            *scratch = before;
            return false;
        };
        scratch.shift(guest, to);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_variance_it_is_a_division() {
        assert!((hosts_needed(4000.0, 0.0, 2.0, 1000.0) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn the_answer_meets_the_reserve_exactly() {
        let needed = hosts_needed(10_000.0, 4.0e5, 1.5, 1000.0);
        let load = 10_000.0 / needed + 1.5 * (4.0e5 / needed).sqrt();
        assert!((load - 1000.0).abs() < 1e-6);
    }
}
