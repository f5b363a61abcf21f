//! Relief of hosts that are short of CPU now.

use super::Parameters;
use super::scratch::Scratch;

/// Moves guests off every host whose demand exceeds `hot` of its capacity, the worst first. Returns
/// whether a host had to be woken for it.
pub(crate) fn relieve(scratch: &mut Scratch<'_>, parameters: &Parameters) -> bool {
    let excess = |scratch: &Scratch<'_>, host: usize| {
        scratch.slots[host].now - parameters.hot * scratch.view.hosts[host].capacity
    };
    let mut hot: Vec<usize> =
        scratch.active().into_iter().filter(|&host| excess(scratch, host) > 0.0).collect();
    hot.sort_by(|&a, &b| excess(scratch, b).total_cmp(&excess(scratch, a)));
    let mut woken = false;
    for host in hot {
        for _ in 0..parameters.relief_moves {
            let over = excess(scratch, host);
            if over <= 0.0 {
                break;
            }
            let mut targets = scratch.active();
            targets.retain(|&other| other != host && excess(scratch, other) <= 0.0);
            let mut choice = choose(scratch, host, over, &targets, parameters);
            if choice.is_none()
                && let Some(off) = scratch.best_idle()
            {
                choice = choose(scratch, host, over, &[off], parameters);
                woken |= choice.is_some();
            }
            let Some((guest, to)) = choice else { break };
            scratch.shift(guest, to);
        }
    }
    woken
}

/// The guest to take off `host` and where to put it: the least demand-megabytes moved among those
/// that end the shortage alone; failing that, the guest that shortens it most.
fn choose(
    scratch: &Scratch<'_>,
    host: usize,
    over: f64,
    targets: &[usize],
    parameters: &Parameters,
) -> Option<(usize, usize)> {
    let mut best: Option<((bool, f64), (usize, usize))> = None;
    for &guest in &scratch.slots[host].guests {
        let now = scratch.demand[guest].now;
        if now <= 0.0 {
            continue;
        }
        let Some(to) = scratch.roomiest(guest, targets, parameters.ceiling, parameters.fit_sigmas)
        else {
            continue;
        };
        let cost = now * scratch.view.guests[guest].image_mb;
        let rank = if now >= over { (false, cost) } else { (true, -now) };
        if best.as_ref().is_none_or(|(least, _)| rank < *least) {
            best = Some((rank, (guest, to)));
        }
    }
    best.map(|(_, choice)| choice)
}
