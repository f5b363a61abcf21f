//! What must hold of every search and of every order, on small random problems.

use drover_planner::search::{
    Class, Group, Imbalance, Instance, Lanes, Law, LawKind, Limits, Objective, Order, Schedule,
    State, Stranded, Trials, anneal, anneal_on_cores, order,
};
use proptest::collection::vec;
use proptest::prelude::*;
use rand_pcg::Pcg64;

const RESOURCES: usize = 2;

fn laws() -> impl Strategy<Value = Law> {
    let kind = prop_oneof![
        (1u16..3).prop_map(|most| LawKind::Apart { most }),
        (1u16..4).prop_map(|least| LawKind::Spread { least }),
        Just(LawKind::Together),
        (0u32..3).prop_map(|other| LawKind::Near { other }),
    ];
    let weight = prop_oneof![Just(f64::INFINITY), 0.5..5.0f64];
    (kind, 0usize..2, weight).prop_map(|(kind, level, weight)| Law { kind, level, weight })
}

/// No group is near itself: that would say nothing.
fn meaningful(group: u32, mut laws: Vec<Law>) -> Vec<Law> {
    laws.retain(|law| law.kind != LawKind::Near { other: group });
    laws
}

prop_compose! {
    fn objectives(hosts: usize, guests: usize)(
        limit in vec(0.0..60.0f64, hosts * RESOURCES),
        overload in vec(0.0..3.0f64, RESOURCES),
        stranded in (0.2..3.0f64, 0.0..2.0f64),
        scale in vec(prop_oneof![Just(0.0), 0.01..0.1f64], hosts),
        weight in 0.0..50.0f64,
        awake in vec(0.0..10.0f64, hosts),
        shun in vec(0.0..5.0f64, hosts),
        displacement in vec(0.0..3.0f64, guests),
        distance in vec(0.0..3.0f64, hosts * hosts),
        group_moves in prop_oneof![Just(0.0), 0.5..3.0f64],
        bytes in vec(0.0..10.0f64, guests),
    ) -> Objective {
        Objective {
            limit,
            overload,
            stranded: vec![Stranded { of: 0, with: 1, ratio: stranded.0, weight: stranded.1 }],
            imbalance: vec![Imbalance { resource: 0, scale, weight }],
            awake,
            shun,
            displacement,
            distance,
            group_moves,
            bytes,
        }
    }
}

prop_compose! {
    /// Up to six hosts and fifteen guests; hosts have what their guests need at home and
    /// `spare` more, which may be too little for anything to move.
    fn instances()(hosts in 2usize..7, guests in 1usize..16)(
        objective in objectives(hosts, guests),
        spare in vec(0u8..30, hosts * RESOURCES),
        base in vec(0u8..5, hosts * RESOURCES),
        closed in vec(prop::bool::weighted(0.15), hosts),
        racks in vec(0u32..3, hosts),
        demand in vec(0u8..15, guests * RESOURCES),
        lingers in any::<Option<bool>>(),
        home in vec(0..u32::try_from(hosts).unwrap(), guests),
        fixed in vec(prop::bool::weighted(0.1), guests),
        class in vec(0u32..2, guests),
        allowed in vec(prop::bool::weighted(0.8), hosts),
        dislike in vec(0.0..2.0f64, hosts),
        groups in vec(vec(laws(), 0..3), 3),
        member_of in vec(prop::option::of(0u32..3), guests),
    ) -> Instance {
        let whole = |numbers: &[u8]| numbers.iter().map(|n| f64::from(*n)).collect::<Vec<f64>>();
        let (demand, base) = (whole(&demand), whole(&base));
        let mut capacity: Vec<f64> =
            base.iter().zip(whole(&spare)).map(|(base, spare)| base + spare).collect();
        for (guest, host) in home.iter().enumerate() {
            for r in 0..RESOURCES {
                capacity[*host as usize * RESOURCES + r] += demand[guest * RESOURCES + r];
            }
        }
        let members = |group: u32| {
            (0..).zip(&member_of).filter(|(_, of)| **of == Some(group)).map(|(n, _)| n).collect()
        };
        let lingers = match lingers {
            Some(true) => (0..demand.len())
                .map(|n| if n % RESOURCES == 0 { demand[n] } else { 0.0 })
                .collect(),
            _ => Vec::new(),
        };
        Instance {
            resources: RESOURCES,
            lingers,
            capacity,
            base,
            domains: vec![(0..u32::try_from(closed.len()).unwrap()).collect(), racks],
            closed,
            demand,
            home,
            fixed,
            class,
            classes: vec![Class::default(), Class { allowed, dislike }],
            groups: (0..).zip(groups).map(|(n, laws)| Group { members: members(n), laws: meaningful(n, laws) }).collect(),
            member_of: member_of.iter().map(|of| of.iter().copied().collect()).collect(),
            objective,
        }
    }
}

/// By how much hard laws are broken, counted from scratch.
fn broken(instance: &Instance, at: &[u32]) -> Vec<f64> {
    let domains_of = |group: usize, level: usize| -> Vec<u32> {
        let members = instance.groups[group].members.iter();
        members.map(|guest| instance.domains[level][at[*guest as usize] as usize]).collect()
    };
    let unlike = |domains: &[u32]| -> Vec<u32> {
        let mut unlike = domains.to_vec();
        unlike.sort_unstable();
        unlike.dedup();
        unlike
    };
    let many = |number: usize| f64::from(u32::try_from(number).unwrap());
    let mut all = Vec::new();
    for (number, group) in instance.groups.iter().enumerate() {
        for law in group.laws.iter().filter(|law| law.is_hard()) {
            let domains = domains_of(number, law.level);
            let counts = unlike(&domains)
                .into_iter()
                .map(|domain| domains.iter().filter(|d| **d == domain).count());
            all.push(match law.kind {
                LawKind::Apart { most } => {
                    counts.map(|count| many(count.saturating_sub(usize::from(most)))).sum()
                }
                LawKind::Spread { least } => {
                    many(usize::from(least).saturating_sub(counts.count()))
                }
                LawKind::Together => many(domains.len() - counts.max().unwrap_or(0)),
                LawKind::Near { other } => {
                    let others = domains_of(other as usize, law.level);
                    many(unlike(&domains).iter().filter(|d| !others.contains(d)).count())
                }
            });
        }
    }
    all
}

/// What each host holds, with what lingers at the homes of guests that have left.
fn held(instance: &Instance, at: &[u32]) -> Vec<f64> {
    let mut held = instance.base.clone();
    for (guest, host) in at.iter().enumerate() {
        for r in 0..RESOURCES {
            held[*host as usize * RESOURCES + r] += instance.demand_of(guest)[r];
            if *host != instance.home[guest] {
                let home = instance.home[guest] as usize;
                held[home * RESOURCES + r] += instance.lingering(guest, r);
            }
        }
    }
    held
}

fn within_capacity(instance: &Instance, held: &[f64]) -> bool {
    held.iter().zip(&instance.capacity).all(|(held, capacity)| *held <= capacity + 1e-6)
}

/// A deviation of nothing is the root of a rounding error: no better than its root.
fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 2e-5 * (1.0 + one.abs().max(other.abs()))
}

/// One move that the state says is possible, and what must be true of it.
fn step(state: &mut State<'_>, guest: usize, draw: usize, swap: bool) -> Result<(), TestCaseError> {
    let instance = state.instance();
    let (guests, hosts) = (instance.guests(), instance.hosts());
    let (before, laws) = (state.cost(), broken(instance, state.assignment()));
    let delta = if swap {
        let other = draw % guests;
        let delta = state.swap_delta(guest, other);
        if let Some(delta) = delta {
            state.swap(guest, other, delta);
        }
        delta
    } else {
        let to = draw % hosts;
        let delta = state.shift_delta(guest, to);
        if let Some(delta) = delta {
            state.shift(guest, to, delta);
        }
        delta
    };
    let Some(delta) = delta else { return Ok(()) };
    let anew = State::of(instance, state.assignment().to_vec());
    prop_assert!(close(anew.cost(), state.cost()), "{} is {}", state.cost(), anew.cost());
    prop_assert!(close(anew.cost() - before, delta), "{} not {delta}", anew.cost() - before);
    prop_assert!(within_capacity(instance, &held(instance, state.assignment())));
    let after = broken(instance, state.assignment());
    prop_assert!(after.iter().zip(&laws).all(|(after, before)| after <= before));
    Ok(())
}

/// Plays an order move by move: what moves counts on both hosts. Returns where guests end.
fn replay(instance: &Instance, order: &Order, lanes: Lanes) -> Result<Vec<u32>, TestCaseError> {
    let mut at = instance.home.clone();
    for batch in &order.batches {
        prop_assert!(!batch.is_empty() && batch.len() <= lanes.all);
        let mut both = held(instance, &at);
        for leg in batch {
            prop_assert_eq!(at[leg.guest as usize], leg.from);
            prop_assert!(
                leg.from != leg.to && instance.may_use(leg.guest as usize, leg.to as usize)
            );
            for r in 0..RESOURCES {
                both[leg.to as usize * RESOURCES + r] += instance.demand_of(leg.guest as usize)[r];
            }
            let out = batch.iter().filter(|other| other.from == leg.from).count();
            let into = batch.iter().filter(|other| other.to == leg.to).count();
            prop_assert!(out <= lanes.out && into <= lanes.into);
            prop_assert_eq!(batch.iter().filter(|other| other.guest == leg.guest).count(), 1);
        }
        prop_assert!(within_capacity(instance, &both));
        for leg in batch {
            at[leg.guest as usize] = leg.to;
        }
        prop_assert!(within_capacity(instance, &held(instance, &at)));
    }
    Ok(at)
}

/// A guest of 10 on a host that is comfortable with 2. The second host would do, were it not
/// full of ten small ones; on the third there is room for eight of these.
fn trap() -> Instance {
    let small = 10;
    Instance {
        resources: 1,
        capacity: vec![12.0; 3],
        base: vec![0.0, 0.0, 4.0],
        closed: vec![false; 3],
        domains: vec![vec![0, 1, 2]],
        demand: [vec![10.0], vec![1.0; small]].concat(),
        home: [vec![0], vec![1; small]].concat(),
        fixed: vec![false; 1 + small],
        class: vec![0; 1 + small],
        classes: vec![Class::default()],
        member_of: vec![Vec::new(); 1 + small],
        objective: Objective {
            limit: vec![2.0, 12.0, 12.0],
            overload: vec![10.0],
            displacement: vec![1.0; 1 + small],
            ..Objective::default()
        },
        ..Instance::default()
    }
}

/// Every small guest that leaves costs, and nothing is gained before eight have: no shift or
/// swap that a cold search takes leads there.
#[test]
fn a_large_guest_is_forced_where_small_ones_must_leave() {
    let instance = trap();
    let mut state = State::at_home(&instance);
    let cold = Schedule { hot: 1e-3, cold: 1e-4 };
    let mut rng = Pcg64::new(1, 1);
    anneal(&mut state, Limits::NONE, cold, &mut Trials::new(50_000), &mut rng);
    assert_eq!((state.cost(), state.host_of(0)), (9.0, 1));
}

proptest! {
    #[test]
    fn invariant_what_a_move_changes_is_what_it_was_said_to(
        instance in instances(),
        steps in vec((any::<usize>(), any::<usize>(), any::<bool>()), 0..40),
    ) {
        let mut state = State::at_home(&instance);
        for (guest, draw, swap) in steps {
            step(&mut state, guest % instance.guests(), draw, swap)?;
        }
    }

    #[test]
    fn invariant_a_search_keeps_limits_and_never_ends_worse(
        instance in instances(),
        moves in 0usize..6,
        bytes in 0.0..30.0f64,
        seed in any::<u64>(),
    ) {
        let mut state = State::at_home(&instance);
        let (before, laws) = (state.cost(), broken(&instance, &instance.home));
        let limits = Limits { moves, bytes };
        let mut rng = Pcg64::new(u128::from(seed), 1);
        anneal(&mut state, limits, Schedule::default(), &mut Trials::new(4096), &mut rng);
        prop_assert!(state.cost() <= before + 1e-9 * before.abs());
        prop_assert!(state.displaced().len() <= moves && state.bytes() <= bytes + 1e-9);
        prop_assert!(within_capacity(&instance, &held(&instance, state.assignment())));
        let after = broken(&instance, state.assignment());
        prop_assert!(after.iter().zip(&laws).all(|(after, before)| after <= before));
        for guest in state.displaced() {
            let guest = *guest as usize;
            prop_assert!(!instance.fixed[guest] && instance.may_use(guest, state.host_of(guest)));
        }
    }

    #[test]
    fn invariant_one_seed_gives_one_result(instance in instances(), seed in any::<u64>()) {
        let search = |cores| {
            let mut state = State::at_home(&instance);
            let mut rng = Pcg64::new(u128::from(seed), 1);
            let patience = &mut Trials::new(2048);
            anneal_on_cores(&mut state, Limits::NONE, Schedule::default(), patience, cores, &mut rng);
            state.assignment().to_vec()
        };
        prop_assert_eq!(search(1), search(1));
        prop_assert_eq!(search(2), search(2));
    }

    #[test]
    fn invariant_an_order_keeps_capacity_at_every_moment(
        instance in instances(),
        steps in vec((any::<usize>(), any::<usize>(), any::<bool>()), 0..40),
        lanes in (1usize..3, 1usize..3, 1usize..20),
    ) {
        let mut state = State::at_home(&instance);
        for (guest, draw, swap) in steps {
            let guest = guest % instance.guests();
            if swap {
                let other = draw % instance.guests();
                if let Some(delta) = state.swap_delta(guest, other) {
                    state.swap(guest, other, delta);
                }
            } else if let Some(delta) = state.shift_delta(guest, draw % instance.hosts()) {
                state.shift(guest, draw % instance.hosts(), delta);
            }
        }
        let lanes = Lanes { out: lanes.0, into: lanes.1, all: lanes.2 };
        let took = |guest: usize| 1.0 + instance.demand_of(guest)[0];
        let order = order(&instance, state.assignment(), lanes, &took);
        let end = replay(&instance, &order, lanes)?;
        for (guest, host) in end.iter().enumerate() {
            let dropped = order.dropped.contains(&u32::try_from(guest).unwrap());
            let meant = if dropped { instance.home[guest] } else { state.assignment()[guest] };
            prop_assert_eq!(*host, meant);
        }
        let legs: usize = order.batches.iter().map(Vec::len).sum();
        prop_assert_eq!(legs, state.displaced().len() - order.dropped.len() + order.bypasses);
        let longest = order.batches.iter().map(|batch| {
            batch.iter().map(|leg| took(leg.guest as usize)).fold(0.0, f64::max)
        });
        prop_assert!(close(longest.sum(), order.duration));
    }
}

/// Hosts of 10 units of one resource; each guest is (home, need, target).
fn order_of(hosts: usize, guests: &[(u32, f64, u32)], lanes: Lanes) -> Order {
    let instance = Instance {
        resources: 1,
        capacity: vec![10.0; hosts],
        base: vec![0.0; hosts],
        closed: vec![false; hosts],
        domains: vec![(0..u32::try_from(hosts).unwrap()).collect()],
        demand: guests.iter().map(|guest| guest.1).collect(),
        home: guests.iter().map(|guest| guest.0).collect(),
        fixed: vec![false; guests.len()],
        class: vec![0; guests.len()],
        classes: vec![Class::default()],
        member_of: vec![Vec::new(); guests.len()],
        ..Instance::default()
    };
    let to: Vec<u32> = guests.iter().map(|guest| guest.2).collect();
    order(&instance, &to, lanes, &|guest| guests[guest].1)
}

const FREE: Lanes = Lanes { out: 9, into: 9, all: 99 };

fn shown(order: &Order) -> String {
    let batch = |batch: &Vec<drover_planner::search::Leg>| {
        let legs = batch.iter().map(|leg| format!("{} {}→{}", leg.guest, leg.from, leg.to));
        legs.collect::<Vec<_>>().join(", ")
    };
    order.batches.iter().map(batch).collect::<Vec<_>>().join(" | ")
}

#[test]
fn a_move_waits_for_the_one_that_makes_room() {
    let order = order_of(3, &[(0, 6.0, 1), (1, 7.0, 2)], FREE);
    assert_eq!(shown(&order), "1 1→2 | 0 0→1");
}

#[test]
fn the_smaller_guest_of_a_circle_steps_aside() {
    let order = order_of(3, &[(0, 8.0, 1), (1, 7.0, 0)], FREE);
    assert_eq!(shown(&order), "1 1→2 | 0 0→1 | 1 2→0");
    assert_eq!((order.bypasses, order.duration), (1, 22.0));
}

#[test]
fn a_guest_steps_aside_while_others_move() {
    let circle = [(0, 8.0, 1), (1, 7.0, 0), (3, 9.0, 4)];
    assert_eq!(shown(&order_of(6, &circle, FREE)), "2 3→4, 1 1→2 | 0 0→1 | 1 2→0");
}

#[test]
fn a_circle_without_a_third_host_is_dropped() {
    let order = order_of(3, &[(0, 8.0, 1), (1, 7.0, 0), (2, 9.0, 2)], FREE);
    assert_eq!((shown(&order), order.dropped.len()), (String::new(), 2));
}

#[test]
fn long_moves_share_a_batch() {
    let guests = [(0, 1.0, 1), (0, 3.0, 2), (0, 1.0, 3), (0, 3.0, 4)];
    let order = order_of(5, &guests, Lanes { out: 2, into: 2, all: 9 });
    assert_eq!((shown(&order).as_str(), order.duration), ("1 0→2, 3 0→4 | 0 0→1, 2 0→3", 4.0));
}

#[test]
fn a_law_that_is_said_twice_counts_twice_and_no_more() {
    let near = |other| Law { kind: LawKind::Near { other }, level: 0, weight: 0.5 };
    let instance = Instance {
        resources: 1,
        capacity: vec![10.0; 2],
        base: vec![0.0; 2],
        closed: vec![false; 2],
        domains: vec![vec![0, 1]],
        demand: vec![1.0; 2],
        home: vec![0, 0],
        fixed: vec![false; 2],
        class: vec![0; 2],
        classes: vec![Class::default()],
        groups: vec![
            Group { members: vec![0], laws: vec![near(1), near(1)] },
            Group { members: vec![1], laws: vec![] },
        ],
        member_of: vec![vec![0], vec![1]],
        ..Instance::default()
    };
    let state = State::at_home(&instance);
    assert_eq!((state.shift_delta(0, 1), state.shift_delta(1, 1)), (Some(1.0), Some(1.0)));
}
