//! What is seen of a host that is on its way up, and what it must have again.

use std::time::Duration;

use drover_lifecycle::power::Sight;
use drover_model::Host;

use crate::live::Live;
use crate::records::{Belongings, PowerRecord, Tables};

/// What was sent before a host went off is taken in a little later; what is heard after so long
/// comes from a host that is on.
const ON_THE_WAY: Duration = Duration::from_secs(5);

/// What a host has now: pools that are started and networks that are up.
pub fn belongings(host: &Host) -> Belongings {
    let pools = host.capabilities.pools.iter().filter(|pool| pool.active);
    let networks = host.capabilities.networks.iter().filter(|network| network.active);
    Belongings {
        pools: pools.map(|pool| pool.name.clone()).collect(),
        networks: networks.map(|of| format!("{} {}", of.kind, of.name)).collect(),
    }
}

/// What a host had and does not have now, as `pool X`.
pub fn missing(before: &Belongings, host: &Host) -> Vec<String> {
    let now = belongings(host);
    let pools = before.pools.iter().filter(|name| !now.pools.contains(name));
    let networks = before.networks.iter().filter(|name| !now.networks.contains(name));
    pools.map(|name| format!("pool {name}")).chain(networks.cloned()).collect()
}

/// What is seen of a host.
pub fn sight(tables: &Tables, live: &Live, record: &PowerRecord) -> Sight {
    let Some(session) = live.session(record.host) else { return Sight::default() };
    // Before its hello, nothing of this session is known.
    if session.incarnation.is_none() {
        return Sight::default();
    }
    let host = tables.hosts.get(record.host).map(|record| &record.host);
    let lost = record.belongings.as_ref().zip(host);
    Sight {
        session: Some(session.since.max(session.heard.minus(ON_THE_WAY))),
        hypervisor: session.hypervisor,
        missing: lost.map_or_else(Vec::new, |(before, host)| missing(before, host)),
    }
}
