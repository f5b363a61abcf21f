//! Hosts that share a fuse, a rack or a contract together draw no more than so many watts.
//!
//! What a guest would draw on its target counts in full from the start; what others free by
//! leaving does not count before they have gone. A host whose watts are not known counts with
//! all that it can draw, by its learned line; one of which nothing was learned closes the
//! group, since nobody can say what is left. A host that is parked draws nothing.

use drover_model::{HostId, Metric, Name};
use serde::{Deserialize, Serialize};

use super::{PlacementCase, Verdict};
use crate::Projection;

const METRIC: Metric = Metric::PowerWatts;

/// Hosts that together may draw no more than so many watts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PowerCap {
    /// What users call it.
    pub name: Name,
    /// The hosts.
    pub hosts: Vec<HostId>,
    /// Those of them that are known to be off.
    #[serde(default)]
    pub off: Vec<HostId>,
    /// The most that they may draw, watts.
    pub watts: f64,
}

impl PowerCap {
    /// What the group may draw at the worst moment of the moves that are booked, watts; the
    /// host of which that cannot be said where there is one.
    pub fn peak(&self, projection: &Projection<'_>) -> Result<f64, HostId> {
        self.sum(projection, |host| projection.load(host)?.machine.peak())
    }

    /// What the group draws once the booked moves are done, watts; the host of which that
    /// cannot be said where there is one.
    pub fn drawn(&self, projection: &Projection<'_>) -> Result<f64, HostId> {
        self.sum(projection, |host| projection.value(host, METRIC))
    }

    fn sum(
        &self,
        projection: &Projection<'_>,
        watts: impl Fn(HostId) -> Option<f64>,
    ) -> Result<f64, HostId> {
        let at_most = |host: HostId| {
            let line = projection.view().hosts.get(&host)?.lines.get(&METRIC)?;
            Some(line.full)
        };
        let of = |host: &HostId| {
            let known = watts(*host).or_else(|| self.off.contains(host).then_some(0.0));
            known.or_else(|| at_most(*host)).ok_or(*host)
        };
        let there = |host: &&HostId| projection.view().hosts.contains_key(*host);
        self.hosts.iter().filter(there).map(of).sum()
    }
}

pub(super) fn check(case: &PlacementCase<'_>) -> Verdict {
    let target = case.target.host.id;
    let about = case.policy.power_caps.iter().filter(|cap| cap.hosts.contains(&target));
    let broken: Vec<String> = about.filter_map(|cap| against(case, cap)).collect();
    Verdict::unless(broken.is_empty(), || broken.join("; "))
}

fn against(case: &PlacementCase<'_>, cap: &PowerCap) -> Option<String> {
    let (projection, guest) = (case.projection, case.guest.guest.id);
    let now = match cap.peak(projection) {
        Ok(watts) => watts,
        Err(host) => {
            let name = projection.view().host_name(host);
            return Some(format!("what {name} draws is not known, and `{}` limits it", cap.name));
        }
    };
    let Some(gain) = projection.watts_of(guest, case.target.host.id, METRIC) else {
        let name = &case.target.host.name;
        return Some(format!(
            "what it would draw on {name} is not known, and `{}` limits it",
            cap.name
        ));
    };
    let home = projection.host_of(guest).filter(|home| cap.hosts.contains(home));
    let after = now + gain - home.map_or(0.0, |home| leaves(projection, case, home));
    (after > cap.watts && after > now).then(|| {
        format!(
            "the hosts of `{}` would draw {} of at most {}, and draw {} now",
            cap.name,
            METRIC.show(after),
            METRIC.show(cap.watts),
            METRIC.show(now),
        )
    })
}

/// Watts that leave a host of the group with the guest: it runs on one host at a time.
fn leaves(projection: &Projection<'_>, case: &PlacementCase<'_>, home: HostId) -> f64 {
    let share = projection.watts_of(case.guest.guest.id, home, METRIC).unwrap_or(0.0);
    let machine = projection.load(home).map(|load| load.machine);
    let above_rest = machine.and_then(|machine| Some(machine.watts()? - machine.at_rest()));
    share.min(above_rest.unwrap_or(0.0)).max(0.0)
}
