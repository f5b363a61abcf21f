//! Hand-computed cases of the whole policy.

use drover_model::PowerCurve;

use super::{Consolidate, GuestLoad, HostLoad, LoadMove, LoadView};

const POWER: PowerCurve =
    PowerCurve([90.0, 94.0, 98.0, 102.0, 106.0, 110.0, 114.0, 118.0, 122.0, 126.0, 130.0]);

/// A cluster of hosts of 1000 units; `demands[h]` lists the steady demands of the guests of
/// host `h`, and `spikes` names guests (in that order) with another demand now.
fn cluster(demands: &[&[f64]], spikes: &[(usize, f64)]) -> LoadView {
    let mut all = Vec::new();
    let mut hosts = Vec::new();
    for (host, guests) in demands.iter().enumerate() {
        let first = all.len();
        all.extend(guests.iter().map(|&demand| GuestLoad {
            size: 1000.0,
            image_mb: 500.0,
            memory_mb: 1000.0,
            demand,
            history: vec![demand / 1000.0; 20],
            host: Some(host),
        }));
        hosts.push(HostLoad {
            capacity: 1000.0,
            core: 1000.0,
            memory_mb: 4096.0,
            power: POWER,
            utilisation: guests.iter().sum::<f64>() / 1000.0,
            guests: (first..all.len()).collect(),
        });
    }
    for &(guest, demand) in spikes {
        all[guest].demand = demand;
    }
    LoadView { guests: all, hosts }
}

#[test]
fn a_calm_cluster_is_left_alone() {
    let view = cluster(&[&[300.0, 400.0], &[350.0, 350.0], &[]], &[]);
    assert_eq!(Consolidate::default().replan(&view), []);
}

#[test]
fn a_host_that_fits_elsewhere_is_emptied() {
    let view = cluster(&[&[300.0, 200.0], &[200.0], &[]], &[]);
    assert_eq!(Consolidate::default().replan(&view), [LoadMove { guest: 2, to: 0 }]);
}

#[test]
fn memory_forbids_what_cpu_allows() {
    let view = cluster(&[&[50.0; 4], &[50.0; 4]], &[]);
    assert_eq!(Consolidate::default().replan(&view), []);
}

#[test]
fn a_hot_host_gives_up_the_smallest_guest_that_is_enough() {
    // host 0 asks for 1090 of 1000; guest 1 alone ends it, guest 2 would not
    let view = cluster(&[&[500.0, 200.0, 50.0], &[500.0], &[]], &[(0, 840.0)]);
    assert_eq!(Consolidate::default().replan(&view), [LoadMove { guest: 1, to: 1 }]);
}

#[test]
fn a_guest_that_leaves_takes_only_its_own_load() {
    // host 0 asks for 1400 of 1000: one guest is not enough, two are
    let view = cluster(&[&[350.0; 4], &[550.0], &[550.0]], &[]);
    let moves = [LoadMove { guest: 0, to: 1 }, LoadMove { guest: 1, to: 2 }];
    assert_eq!(Consolidate::default().replan(&view), moves);
}

#[test]
fn a_host_is_woken_when_no_other_has_room() {
    let view = cluster(&[&[500.0, 350.0], &[850.0], &[]], &[(0, 700.0)]);
    assert_eq!(Consolidate::default().replan(&view), [LoadMove { guest: 1, to: 2 }]);
}

#[test]
fn creation_respects_memory() {
    let mut view = cluster(&[&[], &[]], &[]);
    view.guests = cluster(&[&[0.0; 6]], &[]).guests;
    assert_eq!(Consolidate::default().place(&view), Ok(vec![0, 0, 0, 0, 1, 1]));
}

#[test]
fn a_guest_without_a_host_is_named_and_no_host_is_given_for_it() {
    let mut view = cluster(&[&[], &[]], &[]);
    view.guests = cluster(&[&[0.0; 2]], &[]).guests;
    view.guests[1].size = 1200.0;
    let refused = Consolidate::default().place(&view).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "guest 1 (a core of 1200, 1000 MB) has no host: no host may take it"
    );
    view.guests[1].size = 1000.0;
    view.guests[1].memory_mb = 5000.0;
    let refused = Consolidate::default().place(&view).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "guest 1 (a core of 1000, 5000 MB) has no host: none of the 2 host(s) that may take it \
         has the room"
    );
}

/// First fit by memory alone fills the only fast host with what could be anywhere.
#[test]
fn creation_leaves_fast_cores_to_guests_that_need_them() {
    let mut view = cluster(&[&[], &[]], &[]);
    view.hosts[0].core = 2000.0;
    view.guests = cluster(&[&[0.0; 8]], &[]).guests;
    for guest in &mut view.guests[4..] {
        (guest.size, guest.memory_mb) = (2000.0, 900.0);
    }
    let places = Consolidate::default().place(&view);
    assert_eq!(places, Ok(vec![1, 1, 1, 1, 0, 0, 0, 0]));
}
