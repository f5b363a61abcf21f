//! The queue: tables for its order and reasons, properties for its promises.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use drover_lifecycle::queue::{Begun, Place, Urgency, Wait, Waiting, schedule};
use drover_model::{HostId, MigrationLimits, OperationId};
use proptest::prelude::*;

fn host(number: u128) -> HostId {
    HostId::from_u128(number)
}

fn op(number: u128) -> OperationId {
    OperationId::from_u128(number)
}

fn waits(number: u128, urgency: Urgency, from: u128, to: u128) -> Waiting {
    let priority = Reverse(0);
    Waiting { urgency, priority, operation: op(number), from: host(from), to: host(to) }
}

fn begun(from: u128, to: u128) -> Begun {
    Begun { from: host(from), to: host(to) }
}

fn limits(out: u32, into: u32, link: u32, cluster: u32) -> MigrationLimits {
    let per_cluster = Some(cluster);
    MigrationLimits { out_per_host: out, in_per_host: into, per_link: link, per_cluster }
}

/// Operations in the queue's order, with what each waits for.
fn check(
    limits: MigrationLimits,
    under_way: &[Begun],
    waiting: &[Waiting],
    expected: &[(u128, Option<Wait>)],
) {
    let seen: Vec<(OperationId, Option<Wait>)> = schedule(&limits, 9, under_way, waiting)
        .into_iter()
        .map(|place| (place.waiting.operation, place.wait))
        .collect();
    let expected: Vec<_> = expected.iter().map(|(number, wait)| (op(*number), *wait)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn classes_come_one_after_the_other_and_the_older_first_within_one() {
    use Urgency as U;
    let waiting = [
        waits(1, U::Consolidation, 1, 2),
        waits(2, U::Balance, 1, 2),
        waits(3, U::Relief, 1, 2),
        waits(5, U::Request, 1, 2),
        waits(4, U::Request, 1, 2),
        waits(6, U::Evacuation, 1, 2),
    ];
    let full = Some(Wait::Source { busy: 2 });
    let expected = [(6, None), (4, None), (5, full), (3, full), (2, full), (1, full)];
    check(limits(2, 9, 9, 9), &[], &waiting, &expected);
}

#[test]
fn each_limit_is_named_when_it_is_the_reason() {
    use Urgency::Request;
    let one = [waits(1, Request, 1, 2)];
    let because = |limits, under_way: &[Begun], wait| {
        check(limits, under_way, &one, &[(1, Some(wait))]);
    };
    because(limits(1, 9, 9, 9), &[begun(1, 3)], Wait::Source { busy: 1 });
    because(limits(9, 2, 9, 9), &[begun(3, 2), begun(4, 2)], Wait::Target { busy: 2 });
    because(limits(9, 9, 1, 9), &[begun(2, 1)], Wait::Link { busy: 1 });
    because(limits(9, 9, 9, 2), &[begun(5, 6), begun(7, 8)], Wait::Cluster { busy: 2 });
    check(limits(0, 0, 0, 0), &[], &one, &[(1, None)]);
}

#[test]
fn one_that_waits_lets_others_pass_but_keeps_a_place_for_itself() {
    use Urgency::Relief;
    let waiting = [waits(1, Relief, 1, 2), waits(2, Relief, 3, 2), waits(3, Relief, 4, 5)];
    let source = Some(Wait::Source { busy: 1 });
    let behind = Some(Wait::Behind { operation: op(1) });
    // Host 2 may take one: it is kept for the older.
    check(limits(1, 1, 9, 9), &[begun(1, 6)], &waiting, &[(1, source), (2, behind), (3, None)]);
    check(limits(1, 2, 9, 9), &[begun(1, 6)], &waiting, &[(1, source), (2, None), (3, None)]);
}

fn any_limits() -> impl Strategy<Value = MigrationLimits> {
    (1..4_u32, 1..4_u32, 1..3_u32, 1..6_u32).prop_map(|(o, i, l, c)| limits(o, i, l, c))
}

fn any_waiting() -> impl Strategy<Value = Waiting> {
    (0..5_usize, -1..2_i32, 0..6_u128, 1..6_u128).prop_map(|(urgency, priority, from, by)| {
        Waiting {
            urgency: Urgency::ALL[urgency],
            priority: Reverse(priority),
            operation: op(0),
            from: host(from),
            to: host((from + by) % 6),
        }
    })
}

/// Numbers them in the order in which they came.
fn numbered(waiting: Vec<Waiting>) -> Vec<Waiting> {
    let number = |(n, one): (usize, Waiting)| Waiting { operation: op(n as u128 + 1), ..one };
    waiting.into_iter().enumerate().map(number).collect()
}

/// The most that are under way by any count that is limited.
fn over(limits: &MigrationLimits, under_way: &[Begun]) -> bool {
    let (mut out, mut into, mut link) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for one in under_way {
        *out.entry(one.from).or_insert(0_u32) += 1;
        *into.entry(one.to).or_insert(0_u32) += 1;
        *link.entry([one.from.min(one.to), one.from.max(one.to)]).or_insert(0_u32) += 1;
    }
    out.values().any(|n| *n > limits.out_per_host)
        || into.values().any(|n| *n > limits.in_per_host)
        || link.values().any(|n| *n > limits.per_link)
        || u32::try_from(under_way.len()).unwrap() > limits.in_cluster(6)
}

fn may_begin(places: &[Place]) -> impl Iterator<Item = Waiting> {
    places.iter().filter(|place| place.wait.is_none()).map(|place| place.waiting)
}

proptest! {
    #[test]
    fn invariant_no_limit_is_ever_exceeded(
        limits in any_limits(),
        waiting in prop::collection::vec(any_waiting(), 0..60),
        ends in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let mut waiting = numbered(waiting);
        let mut under_way: Vec<Begun> = Vec::new();
        for end in ends {
            let places = schedule(&limits, 6, &under_way, &waiting);
            prop_assert_eq!(places.len(), waiting.len());
            for one in may_begin(&places) {
                under_way.push(begun_of(one));
                waiting.retain(|other| other.operation != one.operation);
            }
            prop_assert!(!over(&limits, &under_way), "{:?} under {:?}", under_way, limits);
            if !under_way.is_empty() {
                under_way.swap_remove(end.index(under_way.len()));
            }
        }
    }

    #[test]
    fn invariant_whoever_waits_for_a_limit_waits_for_one_that_is_reached(
        limits in any_limits(),
        waiting in prop::collection::vec(any_waiting(), 1..40),
    ) {
        let places = schedule(&limits, 6, &[], &numbered(waiting));
        prop_assert!(places[0].wait.is_none(), "the first waits for nobody");
        let all: Vec<Begun> = may_begin(&places).map(begun_of).collect();
        for place in places.iter().filter(|place| place.wait.is_some()) {
            let ahead = places.iter().take_while(|other| *other != place);
            if let Some(Wait::Behind { operation }) = place.wait {
                let mut ahead = ahead;
                prop_assert!(ahead.any(|other| other.waiting.operation == operation));
            } else {
                let mut with = all.clone();
                with.push(begun_of(place.waiting));
                prop_assert!(over(&limits, &with), "{:?} could begin", place);
            }
        }
    }

    /// However many younger ones of its class keep coming: once it is the oldest it begins
    /// when those have ended that were under way by then.
    #[test]
    fn invariant_nobody_starves_within_a_class(
        limits in any_limits(),
        stream in prop::collection::vec(any_waiting(), 200),
    ) {
        let class = |one| Waiting { urgency: Urgency::Relief, ..one };
        let mut under_way: Vec<Begun> = Vec::new();
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut first_since: (Option<OperationId>, u32) = (None, 0);
        for new in numbered(stream).into_iter().map(class) {
            waiting.push(new);
            for one in may_begin(&schedule(&limits, 6, &under_way, &waiting)) {
                under_way.push(begun_of(one));
                waiting.retain(|other| other.operation != one.operation);
            }
            let first = waiting.iter().min().map(|one| one.operation);
            let still = first.is_some() && first_since.0 == first;
            let ends = if still { first_since.1 + 1 } else { 0 };
            first_since = (first, ends);
            prop_assert!(ends <= limits.in_cluster(6), "{:?} saw {} ends", first, ends);
            if !under_way.is_empty() {
                under_way.remove(0);
            }
        }
    }
}

fn begun_of(one: Waiting) -> Begun {
    Begun { from: one.from, to: one.to }
}

#[test]
fn a_guest_of_higher_priority_goes_first_in_its_class() {
    let plain = waits(1, Urgency::Relief, 1, 2);
    let preferred = Waiting { priority: Reverse(5), ..waits(2, Urgency::Relief, 1, 3) };
    let urgent = waits(3, Urgency::Request, 1, 2);
    let places = schedule(&limits(1, 9, 9, 9), 3, &[], &[plain, preferred, urgent]);
    let order: Vec<_> = places.iter().map(|place| place.waiting.operation).collect();
    assert_eq!(order, [op(3), op(2), op(1)]);
}
