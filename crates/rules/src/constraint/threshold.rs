//! No move may bring its target near a threshold of any rule, in any metric.

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
        .filter(|ceiling| ceiling.hosts.is_empty() || ceiling.hosts.contains(&target.id))
        .filter_map(|ceiling| {
            let metric = ceiling.condition.metric;
            let value = after.value(metric)?;
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
