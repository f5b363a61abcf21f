//! Source and target must answer: unknown means do nothing. A rescue asks no source: somebody
//! vouches that it is dead.

use drover_model::{HostState, MigrationMode};

use super::{PlacementCase, Verdict};

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = &case.target.host;
    if target.state != HostState::Online {
        return Verdict::Refused(format!("{} is {}", target.name, target.state.as_str()));
    }
    if case.policy.mode == MigrationMode::Rescue {
        return Verdict::Allowed;
    }
    match case.source {
        Some(source) if source.host.state == HostState::Online => Verdict::Allowed,
        Some(source) => {
            let (host, asleep) = (&source.host, case.policy.asleep.get(&source.host.id));
            Verdict::Refused(match asleep {
                Some(asleep) => format!("its host {}", asleep.reason(&host.name)),
                None => format!("its host {} is {}", host.name, host.state.as_str()),
            })
        }
        None if case.is_new() => Verdict::Allowed,
        None => Verdict::Refused("its host is unknown".to_owned()),
    }
}
