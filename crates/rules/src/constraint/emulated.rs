//! Drover itself does not move a guest of whose memory a live move loses a part.

use drover_model::MigrationMode;

use super::{MovableCase, Verdict};
use crate::Initiative;
use crate::emulation::loss;

pub(super) fn check(case: &MovableCase<'_>) -> Verdict {
    let policy = case.policy;
    if policy.initiative == Initiative::Request || policy.mode != MigrationMode::Live {
        return Verdict::Allowed;
    }
    let guest = &case.guest.guest;
    let source = case.projection.view().hosts.get(&guest.host);
    match source.and_then(|source| loss(guest, &source.host)) {
        None => Verdict::Allowed,
        Some(found) => Verdict::Refused(format!("{}; what to do: {}", found.cause, found.cure)),
    }
}

#[cfg(test)]
mod tests {
    use drover_model::{ClusterView, GuestState};
    use drover_testkit::{Cluster, guest_id};

    use super::*;
    use crate::{PlacementPolicy, Projection, check_movable};

    fn emulated(version: &str) -> ClusterView {
        let cluster = Cluster::new().host(1, 4.0, 16, 50.0, 8.0).host(2, 4.0, 16, 10.0, 12.0);
        let mut view = cluster.guest(1, 1, 1024, 1.0).guest(2, 1, 1024, 1.0).view();
        for host in view.hosts.values_mut() {
            host.host.capabilities.qemu = version.to_owned();
        }
        view.guests.get_mut(&guest_id(1)).unwrap().guest.virt_type = "qemu".to_owned();
        view
    }

    fn refused(view: &ClusterView, guest: u128, policy: &PlacementPolicy) -> Vec<String> {
        let told = check_movable(&Projection::of(view), policy, guest_id(guest));
        told.into_iter().map(|one| one.constraint.to_string()).collect()
    }

    #[test]
    fn it_stays_for_rules_and_policies_and_goes_for_a_person() {
        let (own, view) = (PlacementPolicy::default(), emulated("7.2.22"));
        assert_eq!(refused(&view, 1, &own), [crate::EMULATED_MEMORY]);
        assert_eq!(refused(&view, 2, &own), [""; 0], "under KVM");
        assert_eq!(refused(&emulated("10.0.13"), 1, &own), [""; 0]);
        let asked = PlacementPolicy { initiative: Initiative::Request, ..own };
        assert_eq!(refused(&view, 1, &asked), [""; 0]);
    }

    #[test]
    fn cold_and_from_a_dead_host_nothing_is_lost() {
        let mut view = emulated("7.2.22");
        let by = |mode| PlacementPolicy { mode, ..PlacementPolicy::default() };
        assert_eq!(refused(&view, 1, &by(MigrationMode::Rescue)), [""; 0]);
        view.guests.get_mut(&guest_id(1)).unwrap().guest.state = GuestState::ShutOff;
        assert_eq!(refused(&view, 1, &by(MigrationMode::Cold)), [""; 0]);
    }
}
