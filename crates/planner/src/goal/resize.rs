//! Room for a guest that grows: on its host, else elsewhere.

use drover_model::{ClusterView, GuestId, Metric, Mib, Reading, Vcpus};
use drover_rules::Projection;
use rand::Rng;

use super::Outcome;
use crate::Policy;
use crate::place::place;
use crate::report::PlanReport;

pub(crate) fn resize(
    view: &ClusterView,
    policy: &Policy,
    guest: GuestId,
    vcpus: u32,
    memory: Mib,
    rng: &mut impl Rng,
) -> Outcome {
    let Some(seen) = view.guests.get(&guest) else {
        let summary = format!("there is no guest {guest}");
        return (Vec::new(), PlanReport { summary, ..PlanReport::default() });
    };
    let before = &seen.guest;
    #[expect(clippy::cast_precision_loss, reason = "memory sizes stay below 2^53")]
    let more = memory.bytes().0.saturating_sub(before.memory.bytes().0) as f64;
    let projection = Projection::of(view);
    #[expect(clippy::cast_precision_loss, reason = "memory sizes stay below 2^53")]
    let reserve = policy.placement.memory_reserve as f64;
    let available = projection.value(before.host, Metric::MemAvailable).unwrap_or(0.0);
    let cores = view.hosts.get(&before.host).map_or(0.0, |host| host.host.capabilities.cores.0);
    let name = view.guest_name(guest);
    let home = view.host_name(before.host);
    if available - more >= reserve && f64::from(vcpus) <= cores.ceil() {
        let summary = format!("{name} grows on {home}");
        return (Vec::new(), PlanReport { summary, ..PlanReport::default() });
    }
    let grown = grown(view, guest, vcpus, memory);
    let (moves, mut report) = place(&grown, policy, guest, None, rng);
    report.summary = if moves.is_empty() {
        format!("{name} cannot grow: not on {home}, and {}", report.summary)
    } else {
        format!("{name} cannot grow on {home}: {}", report.summary)
    };
    (vec![moves], report)
}

/// The view with the guest as it shall be, its CPU use grown with its vCPUs.
fn grown(view: &ClusterView, guest: GuestId, vcpus: u32, memory: Mib) -> ClusterView {
    let mut view = view.clone();
    if let Some(seen) = view.guests.get_mut(&guest) {
        let factor = f64::from(vcpus) / f64::from(seen.guest.vcpus.0.max(1));
        seen.guest.vcpus = Vcpus(vcpus);
        seen.guest.memory = memory;
        if let Some(Reading::Known { value, .. }) = seen.readings.get_mut(&Metric::GuestCpuCores) {
            *value *= factor.max(1.0);
        }
    }
    view
}
