//! What the check before a move has found is not planned again for a while.
//!
//! Constraints judge by the cluster's picture; only the hosts themselves know the rest, and
//! they are asked when a move is about to begin. A plan that did not know their answer would
//! choose the same host again.

use std::collections::BTreeMap;

use drover_model::{ClusterView, HostId, MigrationMode, Timestamp};
use serde::{Deserialize, Serialize};

use super::{MovableCase, PlacementCase, PlacementPolicy, Verdict};

/// The parts of how a guest is moved that decide where it can go: what is refused in one way
/// may be allowed in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Way {
    /// Live, cold or from a dead host.
    pub mode: MigrationMode,
    /// Local disks are copied.
    pub copies_storage: bool,
    /// Processors are not compared.
    pub skips_cpu_check: bool,
}

/// What a check before a move said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownRefusal {
    /// What was found.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// It counts before this moment.
    pub until: Timestamp,
    /// How the guest was to go.
    pub way: Way,
}

/// What is known against moving one guest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KnownRefusals {
    /// To any host: what was found is the guest's own, or its host's.
    pub everywhere: Option<KnownRefusal>,
    /// To one host.
    pub to: BTreeMap<HostId, KnownRefusal>,
}

impl KnownRefusals {
    /// Whether a plan must not take the guest to this host.
    pub fn forbids(&self, view: &ClusterView, policy: &PlacementPolicy, host: HostId) -> bool {
        self.to.get(&host).is_some_and(|refusal| refusal.counts(view.at, policy.way()))
    }
}

impl KnownRefusal {
    fn counts(&self, now: Timestamp, way: Way) -> bool {
        now < self.until && self.way == way
    }

    fn verdict(&self, now: Timestamp, way: Way) -> Verdict {
        Verdict::unless(!self.counts(now, way), || {
            format!("the check before a move said no: {}", self.reason)
        })
    }
}

pub(super) fn movable(case: &MovableCase<'_>) -> Verdict {
    let known = case.policy.refused.get(&case.guest.guest.id);
    let refusal = known.and_then(|known| known.everywhere.as_ref());
    let now = case.projection.view().at;
    refusal.map_or(Verdict::Allowed, |refusal| refusal.verdict(now, case.policy.way()))
}

pub(super) fn placement(case: &PlacementCase<'_>) -> Verdict {
    let known = case.policy.refused.get(&case.guest.guest.id);
    let refusal = known.and_then(|known| known.to.get(&case.target.host.id));
    let now = case.projection.view().at;
    refusal.map_or(Verdict::Allowed, |refusal| refusal.verdict(now, case.policy.way()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use drover_testkit::{Cluster, guest_id, host_id};

    use super::*;
    use crate::constraint::Constraint;
    use crate::{Projection, check_movable, check_placement};

    fn cluster() -> ClusterView {
        let cluster = Cluster::new().host(1, 4.0, 16, 50.0, 8.0).host(2, 4.0, 16, 10.0, 12.0);
        cluster.host(3, 4.0, 16, 10.0, 12.0).guest(1, 1, 1024, 1.0).view()
    }

    fn refusal(now: Timestamp) -> KnownRefusal {
        let until = now.plus(Duration::from_secs(60));
        KnownRefusal { reason: "no port".to_owned(), at: now, until, way: Way::default() }
    }

    fn names(view: &ClusterView, policy: &PlacementPolicy, to: u128) -> Vec<Constraint> {
        let projection = Projection::of(view);
        let movable = check_movable(&projection, policy, guest_id(1));
        let placed = check_placement(&projection, policy, guest_id(1), host_id(to));
        movable.into_iter().chain(placed).map(|one| one.constraint).collect()
    }

    #[test]
    fn a_host_that_was_refused_is_refused_until_the_time_is_over() {
        let mut view = cluster();
        let mut policy = PlacementPolicy::default();
        let known = policy.refused.entry(guest_id(1)).or_default();
        known.to.insert(host_id(2), refusal(view.at));
        assert_eq!(names(&view, &policy, 2), [Constraint::Preflight]);
        assert!(policy.refused[&guest_id(1)].forbids(&view, &policy, host_id(2)));
        assert_eq!(names(&view, &policy, 3), [], "another host is free");
        view.at = view.at.plus(Duration::from_secs(60));
        assert_eq!(names(&view, &policy, 2), []);
        assert!(!policy.refused[&guest_id(1)].forbids(&view, &policy, host_id(2)));
    }

    #[test]
    fn another_way_may_be_open() {
        let view = cluster();
        let mut policy = PlacementPolicy::default();
        let known = policy.refused.entry(guest_id(1)).or_default();
        known.to.insert(host_id(2), refusal(view.at));
        policy.copies_storage = true;
        assert_eq!(names(&view, &policy, 2), []);
    }

    #[test]
    fn what_is_the_guests_own_holds_for_every_host() {
        let view = cluster();
        let mut policy = PlacementPolicy::default();
        policy.refused.entry(guest_id(1)).or_default().everywhere = Some(refusal(view.at));
        assert_eq!(names(&view, &policy, 2), [Constraint::Preflight]);
        assert_eq!(names(&view, &policy, 3), [Constraint::Preflight]);
    }
}
