//! One guest, because someone asked.

use drover_planner::{Budget, Goal, Policy, plan};
use drover_rules::{PlacementKind, PlacementPolicy, PlacementRule, Strength};
use drover_testkit::{Cluster, guest_id, host_id};
use rand_pcg::Pcg64;

use crate::shown;

fn place(cluster: Cluster, to: Option<u128>) -> (String, String) {
    let view = cluster.view();
    let policy = Policy::new(
        Goal::Place { guest: guest_id(1), to: to.map(host_id) },
        PlacementPolicy::default(),
    );
    let (plan, report) = plan(&view, &policy, &Budget::default(), &mut Pcg64::new(1, 1));
    (shown(&view, &plan), report.summary)
}

fn three_hosts() -> Cluster {
    Cluster::new()
        .host(1, 10.0, 64, 50.0, 40.0)
        .host(2, 10.0, 64, 30.0, 60.0)
        .host(3, 10.0, 64, 10.0, 60.0)
        .guest(1, 1, 1024, 0.8)
}

#[test]
fn without_a_wish_the_least_loaded_host_is_chosen() {
    assert_eq!(place(three_hosts(), None).0, "vm1 h1→h3");
}

#[test]
fn a_wish_is_followed_or_refused_with_the_reason() {
    assert_eq!(place(three_hosts(), Some(2)).0, "vm1 h1→h2");
    let (plan, summary) = place(three_hosts(), Some(1));
    assert_eq!(plan, "");
    assert_eq!(summary, "vm1 cannot move: it is on h1 already");
    let alone = Cluster::new().host(1, 10.0, 64, 50.0, 40.0).guest(1, 1, 1024, 0.8);
    assert_eq!(place(alone, None).1, "no host can take vm1: there is no other host");
    let private_disk = three_hosts().with(|view| {
        let guest = &mut view.guests.values_mut().next().unwrap().guest;
        guest.disks[0].source =
            drover_model::DiskSource::File { path: "/var/lib/libvirt/images/a.img".to_owned() };
    });
    let (_, summary) = place(private_disk, Some(2));
    assert!(summary.starts_with("no host can take vm1: h2: "), "{summary}");
    assert!(summary.contains("below no path shared by both"), "{summary}");
}

/// The largest first, each to the least loaded host, puts vm1 where alone vm2 may be.
#[test]
fn a_guest_with_one_host_comes_before_a_larger_one_with_two() {
    let view = Cluster::new()
        .host(1, 10.0, 64, 50.0, 10.0)
        .host(2, 10.0, 64, 30.0, 30.0)
        .host(3, 10.0, 64, 10.0, 38.0)
        .guest(1, 1, 20 * 1024, 0.8)
        .guest(2, 1, 19 * 1024, 0.8)
        .view();
    let only_h3 = PlacementRule {
        name: "licence".to_owned(),
        kind: PlacementKind::On { guests: vec![guest_id(2)], hosts: vec![host_id(1), host_id(3)] },
        strength: Strength::Required,
    };
    let placement = PlacementPolicy { rules: vec![only_h3], ..PlacementPolicy::default() };
    let goal = Goal::Several { guests: vec![guest_id(1), guest_id(2)], to: None };
    let policy = Policy::new(goal, placement);
    let (plan, report) = plan(&view, &policy, &Budget::default(), &mut Pcg64::new(1, 1));
    assert_eq!(report.unplaced, [], "{}", report.summary);
    let mut moves: Vec<_> = plan.moves().map(|step| (step.step.guest, step.step.to)).collect();
    moves.sort_unstable();
    assert_eq!(moves, [(guest_id(1), host_id(2)), (guest_id(2), host_id(3))]);
}
