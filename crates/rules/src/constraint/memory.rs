//! The target must have the guest's memory and a reserve, after all that is booked.

use drover_model::{Bytes, Metric};

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = &case.target.host;
    let guest = case.guest.guest.id;
    let Some(available) = case.projection.value(target.id, Metric::MemAvailable) else {
        return Verdict::Refused(format!("memory of {} is not measured", target.name));
    };
    let demand = case.projection.memory_demand(guest);
    #[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
    let reserve = case.policy.memory_reserve as f64;
    Verdict::unless(available - demand >= reserve, || {
        format!(
            "it needs {}, {} has {} available and keeps {} in reserve",
            Metric::MemAvailable.show(demand),
            target.name,
            Metric::MemAvailable.show(available),
            Bytes(case.policy.memory_reserve),
        )
    })
}
