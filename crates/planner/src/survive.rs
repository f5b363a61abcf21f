//! How many hosts a cluster can lose: every guest of the lost ones finds a place.

use crate::search::State;

/// Whether the guests of any `failures` of these hosts find a place on the others. For more
/// than one failure the hosts with most memory in use fail together, each host once as the
/// first of them.
pub(crate) fn survives(state: &State<'_>, hosts: &[usize], failures: u8) -> bool {
    failures == 0 || first_fatal(state, hosts, failures).is_none()
}

/// A set of hosts whose loss leaves a guest without a place, and that guest.
pub(crate) fn first_fatal(
    state: &State<'_>,
    hosts: &[usize],
    failures: u8,
) -> Option<(Vec<usize>, usize)> {
    let load = |host: usize| -> f64 {
        let bytes = &state.instance().objective.bytes;
        state.guests_on(host).iter().map(|unit| bytes[*unit as usize]).sum()
    };
    let mut heavy: Vec<(f64, usize)> = hosts.iter().map(|host| (load(*host), *host)).collect();
    heavy.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    heavy.iter().find_map(|(_, first)| {
        let others = heavy.iter().map(|(_, host)| *host).filter(|host| host != first);
        let mut lost = vec![*first];
        lost.extend(others.take(usize::from(failures).saturating_sub(1)));
        let unit = unplaced(state, hosts, &lost)?;
        Some((lost, unit))
    })
}

/// A guest of the lost hosts that finds no place, the large ones placed first.
fn unplaced(state: &State<'_>, hosts: &[usize], lost: &[usize]) -> Option<usize> {
    let instance = state.instance();
    let mut after = state.clone();
    let mut guests: Vec<usize> =
        lost.iter().flat_map(|host| state.guests_on(*host)).map(|unit| *unit as usize).collect();
    let bytes = &instance.objective.bytes;
    guests.sort_by(|a, b| bytes[*b].total_cmp(&bytes[*a]).then(a.cmp(b)));
    for unit in guests {
        let place = hosts
            .iter()
            .filter(|host| !lost.contains(host))
            .find_map(|host| Some((after.shift_delta(unit, *host)?, *host)));
        match place {
            Some((delta, host)) => after.shift(unit, host, delta),
            None => return Some(unit),
        }
    }
    None
}
