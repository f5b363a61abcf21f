//! Which wishes about placement are broken.

use drover_rules::{PlacementKind, PlacementPolicy, Projection, Strength};

/// A sentence for each rule that does not hold, required ones first.
pub(crate) fn rules(projection: &Projection<'_>, policy: &PlacementPolicy) -> Vec<String> {
    let mut broken: Vec<(bool, String)> = policy
        .rules
        .iter()
        .filter_map(|rule| {
            let text = broken(projection, policy, &rule.kind)?;
            let wish = match rule.strength {
                Strength::Required => "required",
                Strength::Preferred(_) => "preferred",
            };
            Some((!rule.is_required(), format!("`{}` ({wish}): {text}", rule.name)))
        })
        .collect();
    broken.sort();
    broken.into_iter().map(|(_, text)| text).collect()
}

fn broken(
    projection: &Projection<'_>,
    policy: &PlacementPolicy,
    kind: &PlacementKind,
) -> Option<String> {
    let view = projection.view();
    let places = |guests: &[_], scope| projection.places(&policy.labels, scope, guests);
    match kind {
        PlacementKind::Apart { guests, scope, most } => {
            let over = places(guests, scope).values().filter(|n| **n > usize::from(*most)).count();
            (over > 0).then(|| format!("{over} place(s) have more than {most} of its guests"))
        }
        PlacementKind::Together { guests, scope } => {
            let among = places(guests, scope).len();
            (among > 1).then(|| format!("its guests are in {among} places"))
        }
        PlacementKind::Spread { guests, scope, least } => {
            let among = places(guests, scope).len();
            let there = guests.iter().filter(|guest| projection.host_of(**guest).is_some()).count();
            let wanted = usize::from(*least).min(there);
            (among < wanted).then(|| format!("its guests are in {among} places, not {least}"))
        }
        PlacementKind::On { guests, hosts } => {
            let off = guests.iter().filter(|guest| {
                projection.host_of(**guest).is_some_and(|host| !hosts.contains(&host))
            });
            let names: Vec<String> = off.map(|guest| view.guest_name(*guest)).collect();
            (!names.is_empty()).then(|| format!("{} elsewhere", names.join(", ")))
        }
        PlacementKind::NotOn { guests, hosts } => {
            let on = guests.iter().filter(|guest| {
                projection.host_of(**guest).is_some_and(|host| hosts.contains(&host))
            });
            let names: Vec<String> = on.map(|guest| view.guest_name(*guest)).collect();
            (!names.is_empty()).then(|| format!("{} on an excluded host", names.join(", ")))
        }
    }
}
