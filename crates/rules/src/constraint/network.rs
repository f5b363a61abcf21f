//! Every network card must find its bridge or network on the target.

use drover_model::NicSource;

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = &case.target.host;
    let missing: Vec<String> = case
        .guest
        .guest
        .nics
        .iter()
        .filter_map(|nic| {
            let (kind, name) = match &nic.source {
                NicSource::Bridge { name } => ("bridge", name),
                NicSource::Network { name } => ("network", name),
                NicSource::Other { .. } => return None,
            };
            let there = target
                .capabilities
                .networks
                .iter()
                .any(|net| net.kind == kind && net.name == *name && net.active);
            (!there).then(|| format!("no active {kind} `{name}` on {}", target.name))
        })
        .collect();
    Verdict::unless(missing.is_empty(), || missing.join("; "))
}
