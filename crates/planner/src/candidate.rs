//! Where one guest could go, and which of these hosts is best.

use drover_model::{GuestId, HostId, Metric};
use drover_rules::{Move, PlacementPolicy, Projection, check_movable, check_placement};
use rand::{Rng, RngExt as _};

use crate::Policy;
use crate::batch::seconds;
use crate::report::{PlannedMove, RefusedMove};

/// Two loads this close (percent points) count as equal.
const EQUAL_LOAD: f64 = 0.01;

/// Everything against moving a guest at all.
pub(crate) fn guest_refusals(
    projection: &Projection<'_>,
    policy: &PlacementPolicy,
    guest: GuestId,
) -> Vec<RefusedMove> {
    check_movable(projection, policy, guest)
        .into_iter()
        .map(|refusal| RefusedMove {
            guest,
            host: None,
            constraint: refusal.constraint,
            reason: refusal.reason,
        })
        .collect()
}

/// The hosts that may take the guest, and why the others may not.
pub(crate) fn targets(
    projection: &Projection<'_>,
    policy: &PlacementPolicy,
    guest: GuestId,
) -> (Vec<HostId>, Vec<RefusedMove>) {
    let home = projection.host_of(guest);
    let mut feasible = Vec::new();
    let mut refused = Vec::new();
    for host in projection.view().hosts.keys().copied().filter(|host| Some(*host) != home) {
        let refusals = check_placement(projection, policy, guest, host);
        if refusals.is_empty() {
            feasible.push(host);
        }
        refused.extend(refusals.into_iter().map(|refusal| RefusedMove {
            guest,
            host: Some(host),
            constraint: refusal.constraint,
            reason: refusal.reason,
        }));
    }
    (feasible, refused)
}

/// The host that is least loaded once the guest is there, by its scarcer resource.
pub(crate) fn least_loaded(
    projection: &Projection<'_>,
    guest: GuestId,
    hosts: &[HostId],
    rng: &mut impl Rng,
) -> Option<HostId> {
    let mut scored: Vec<(f64, HostId)> =
        hosts.iter().map(|host| (load_after(projection, guest, *host), *host)).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let best = scored.first()?.0;
    let equal = scored.iter().take_while(|(score, _)| score - best <= EQUAL_LOAD).count();
    Some(scored[rng.random_range(0..equal)].1)
}

/// Percent in use of the resource that is scarcer after the guest's arrival.
fn load_after(projection: &Projection<'_>, guest: GuestId, host: HostId) -> f64 {
    let Some(after) = projection.after_arrival(guest, host) else { return f64::INFINITY };
    let cpu = after.value(Metric::CpuUsageActive).unwrap_or(f64::INFINITY);
    let installed =
        projection.view().hosts.get(&host).map_or(0, |view| view.host.capabilities.memory.0);
    #[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
    let memory = match after.available {
        Some(available) if installed > 0 => 100.0 - available * 100.0 / installed as f64,
        _ => 0.0,
    };
    cpu.max(memory)
}

/// A move with what it changes of CPU use on both hosts; books it. Why this host, and what
/// it gains, is the caller's to say.
pub(crate) fn booked(
    projection: &mut Projection<'_>,
    policy: &Policy,
    step: Move,
    why_guest: &str,
) -> PlannedMove {
    let metric = Metric::CpuUsageActive;
    let value = |projection: &Projection<'_>, host| projection.value(host, metric).unwrap_or(0.0);
    let before = (value(projection, step.from), value(projection, step.to));
    let bytes = bytes_to_move(projection, step.guest);
    projection.book(step);
    PlannedMove {
        step,
        bytes,
        why_guest: why_guest.to_owned(),
        why_host: String::new(),
        metric,
        from: (before.0, value(projection, step.from)),
        to: (before.1, value(projection, step.to)),
        gain: None,
        seconds: seconds(bytes, policy),
    }
}

/// Bytes that a move of the guest sends, roughly: its resident memory.
pub(crate) fn bytes_to_move(projection: &Projection<'_>, guest: GuestId) -> u64 {
    let view = projection.view();
    let resident = view.guest_value(guest, Metric::GuestResident).filter(|bytes| *bytes > 0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and below 2^53"
    )]
    resident.map_or_else(
        || view.guests.get(&guest).map_or(0, |guest| guest.guest.memory_demand().0),
        |bytes| bytes as u64,
    )
}
