//! No move may bring its target near a threshold of any rule, in any metric.
//!
//! CPU and memory of a target must be known. Watts need not be: many machines measure none,
//! and a cluster in which some do must still be able to use the others, whose CPU and memory
//! are judged. But where a rule watches a host in watts, somebody cares what it draws, and a
//! value that is missing there passes nothing: the guest could be what trips the fuse.

use drover_model::MetricUnit;

use super::{Ceiling, PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = &case.target.host;
    let Some(after) = case.projection.after_arrival(case.guest.guest.id, target.id) else {
        return Verdict::Refused(format!("the load of {} is not measured", target.name));
    };
    let broken: Vec<String> = case
        .policy
        .ceilings
        .iter()
        .filter(|ceiling| ceiling.is_about(target.id))
        .filter_map(|ceiling| {
            let metric = ceiling.condition.metric;
            let Some(value) = after.value(metric) else {
                return ceiling.watches(target.id).then(|| {
                    let name = &target.name;
                    format!(
                        "{metric} of {name} is not known, and rule `{}` watches it",
                        ceiling.rule
                    )
                });
            };
            let margin = margin(ceiling, case);
            (!ceiling.condition.kept_with_margin(value, margin)).then(|| {
                let now = case.projection.value(target.id, metric).unwrap_or(value);
                format!(
                    "{} would go from {} to {}; rule `{}` fires at {} and a margin of {} is kept",
                    target.name,
                    metric.show(now),
                    metric.show(value),
                    ceiling.rule,
                    ceiling.condition,
                    metric.show(margin),
                )
            })
        })
        .collect();
    Verdict::unless(broken.is_empty(), || broken.join("; "))
}

fn margin(ceiling: &Ceiling, case: &PlacementCase<'_>) -> f64 {
    match ceiling.condition.metric.unit() {
        MetricUnit::Percent => case.policy.margin_percent,
        MetricUnit::Bytes | MetricUnit::BytesPerSecond | MetricUnit::Cores | MetricUnit::Watts => {
            ceiling.condition.threshold * case.policy.margin_memory
        }
    }
}
