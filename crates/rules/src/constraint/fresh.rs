//! Target and guest must have fresh samples: a missing value never passes a target.

use drover_model::{Metric, Reading};

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let host = &case.target;
    let guest = &case.guest;
    let missing: Vec<String> = [
        (Metric::CpuUsageActive, &host.host.name, &host.readings),
        (Metric::MemAvailable, &host.host.name, &host.readings),
        (Metric::GuestCpuCores, &guest.guest.name, &guest.readings),
    ]
    .into_iter()
    .filter_map(|(metric, name, readings)| match readings.get(&metric) {
        Some(Reading::Known { .. }) => None,
        Some(Reading::Missing(reason)) => Some(format!("{metric} of {name}: {reason}")),
        None => Some(format!("{metric} of {name} is not measured")),
    })
    .collect();
    Verdict::unless(missing.is_empty(), || missing.join("; "))
}
