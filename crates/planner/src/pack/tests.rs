//! Placements that are known to exist are found; where there is none, that is said.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Packing, Unplaced, Why, exact, pack};

const STEPS: u64 = 20_000_000;

fn packing(room: &[&[f64]], need: &[&[f64]], allowed: &[&[bool]]) -> Packing {
    Packing {
        resources: room[0].len(),
        names: vec!["MB", "MIPS"],
        need: need.concat(),
        room: room.concat(),
        kind: (0..need.len()).collect(),
        allowed: allowed.iter().map(|of| of.to_vec()).collect(),
        order: (0..room.len()).collect(),
    }
}

fn check(packing: &Packing, places: &[usize]) {
    assert_eq!(places.len(), packing.guests());
    let mut left = packing.room.clone();
    for (guest, host) in places.iter().enumerate() {
        assert!(packing.allows(guest, *host), "guest {guest} may not be on host {host}");
        for (resource, need) in packing.need_of(guest).iter().enumerate() {
            left[host * packing.resources + resource] -= need;
        }
    }
    assert!(left.iter().all(|left| *left >= -1e-6), "{left:?}");
}

#[test]
fn who_may_use_few_hosts_does_not_find_them_filled_by_others() {
    // The larger guest may be anywhere and would take the first host.
    let packing = packing(&[&[4.0], &[4.0]], &[&[3.0], &[2.0]], &[&[true, true], &[true, false]]);
    assert_eq!(pack(&packing, STEPS), Ok(vec![1, 0]));
}

#[test]
fn a_guest_larger_than_every_host_is_named() {
    let all: &[bool] = &[true, true];
    let packing = packing(&[&[4.0, 9.0], &[9.0, 4.0]], &[&[1.0, 1.0], &[5.0, 5.0]], &[all, all]);
    let refused = Unplaced { guest: 1, why: Why::TooLarge { hosts: 2 } };
    assert_eq!(pack(&packing, STEPS), Err(refused));
}

#[test]
fn a_guest_that_no_host_may_take_is_named() {
    let packing = packing(&[&[4.0]], &[&[1.0], &[1.0]], &[&[true], &[false]]);
    assert_eq!(pack(&packing, STEPS), Err(Unplaced { guest: 1, why: Why::NotAllowed }));
}

#[test]
fn guests_that_share_too_few_hosts_are_counted() {
    let few: &[bool] = &[true, false];
    let all: &[bool] = &[true, true];
    let packing = packing(&[&[4.0], &[9.0]], &[&[3.0], &[2.0], &[2.0]], &[all, few, few]);
    assert!(pack(&packing, STEPS).is_ok(), "both small ones fit on the first");
    let packing = Packing { room: vec![3.0, 9.0], ..packing };
    let why = Why::Crowded { others: 1, hosts: 1, resource: "MB", need: 4.0, room: 3.0 };
    assert_eq!(pack(&packing, STEPS), Err(Unplaced { guest: 1, why }));
}

#[test]
fn what_sums_do_not_forbid_is_tried_to_the_end() {
    let all: &[bool] = &[true, true];
    let packing = packing(&[&[5.0], &[5.0]], &[&[3.0], &[3.0], &[3.0]], &[all, all, all]);
    assert_eq!(pack(&packing, STEPS).map_err(|refused| refused.why), Err(Why::Exhausted));
}

prop_compose! {
    /// Hosts with guests on them, then forgotten: a host has what its guests need and
    /// `spare` parts of a hundred more, and may take their kinds.
    fn planted(hosts: std::ops::Range<usize>, on_each: usize, spare: u32, resources: usize)(
        of in vec(vec((vec(1u32..40, resources), 0usize..4), 1..on_each), hosts),
        open in vec(vec(prop::bool::weighted(0.3), 4), 48),
        shuffle in any::<prop::sample::Index>(),
    ) -> Packing {
        let mut guests: Vec<(Vec<u32>, usize, usize)> = of
            .iter()
            .enumerate()
            .flat_map(|(host, on)| on.iter().map(move |(need, kind)| (need.clone(), *kind, host)))
            .collect();
        let turn = shuffle.index(guests.len());
        guests.rotate_left(turn);
        let mut room = vec![0.0; of.len() * resources];
        let mut allowed: Vec<Vec<bool>> =
            (0..4).map(|kind| (0..of.len()).map(|host| open[host % 48][kind]).collect()).collect();
        for (need, kind, host) in &guests {
            allowed[*kind][*host] = true;
            for (resource, need) in need.iter().enumerate() {
                room[host * resources + resource] += f64::from(*need);
            }
        }
        for room in &mut room {
            *room += (*room * f64::from(spare) / 100.0).floor();
        }
        Packing {
            resources,
            names: vec!["MB", "MIPS"],
            need: guests.iter().flat_map(|(need, _, _)| need).map(|n| f64::from(*n)).collect(),
            room,
            kind: guests.iter().map(|(_, kind, _)| *kind).collect(),
            allowed,
            order: (0..of.len()).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No room to spare at all: every guest must be where it was, or its like.
    #[test]
    fn invariant_a_small_placement_that_exists_is_found(packing in planted(1..6, 5, 0, 2)) {
        let places = pack(&packing, 200_000).unwrap();
        check(&packing, &places);
    }

    #[test]
    fn invariant_a_large_placement_with_some_room_is_found(packing in planted(30..48, 8, 6, 2)) {
        let places = pack(&packing, STEPS).unwrap();
        check(&packing, &places);
    }

    /// What trying everything finds, the search finds too, and the other way round.
    #[test]
    fn invariant_the_search_answers_as_trying_everything(
        packing in planted(2..5, 4, 0, 1),
        shrunk in 0.8..1.0f64,
    ) {
        let room = packing.room.iter().map(|room| (room * shrunk).floor()).collect();
        let packing = Packing { room, ..packing };
        let exists = match exact::place(&packing, 1_000_000) {
            exact::Answer::Placed(places) => {
                check(&packing, &places);
                true
            }
            exact::Answer::None => false,
            exact::Answer::Unknown => return Ok(()),
        };
        let found = pack(&packing, 100_000);
        prop_assert_eq!(found.is_ok(), exists, "{:?}", found);
        if let Ok(places) = found {
            check(&packing, &places);
        }
    }
}

/// What fits by rounding is not proven to fit nowhere.
#[test]
fn the_proof_rounds_as_the_search_does() {
    let packing = packing(&[&[1.0]], &[&[0.500_000_4], &[0.500_000_4]], &[&[true], &[true]]);
    assert_eq!(pack(&packing, STEPS), Ok(vec![0, 0]));
}
