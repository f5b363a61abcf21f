//! What must hold of every goal's plan, on random clusters with random wishes.

use std::collections::BTreeSet;
use std::time::Duration;

use drover_model::{ClusterView, GuestId, HostId, HostState};
use drover_planner::{Budget, Goal, Level, Plan, Policy, plan};
use drover_rules::constraint::Constraint;
use drover_rules::constraint::KnownRefusal;
use drover_rules::{
    Condition, Initiative, PlacementKind, PlacementPolicy, PlacementRule, Projection, Scope,
    Strength, audit,
};
use drover_testkit::{Cluster, guest_id, host_id};
use proptest::prelude::*;
use rand_pcg::Pcg64;

#[derive(Debug, Clone)]
struct Case {
    view: ClusterView,
    placement: PlacementPolicy,
}

prop_compose! {
    fn wishes(guests: usize, hosts: usize)(
        kind in 0u8..5,
        members in prop::collection::btree_set(0..guests.max(1), 1..4),
        places in prop::collection::btree_set(0..hosts, 1..3),
        most in 1u16..3,
        rack in any::<bool>(),
        preferred in any::<bool>(),
    ) -> (PlacementKind, Strength) {
        let guests: Vec<GuestId> = members.iter().map(|n| guest_id(*n as u128 + 1)).collect();
        let hosts: Vec<HostId> = places.iter().map(|n| host_id(*n as u128 + 1)).collect();
        let scope = if rack { Scope::Label("rack".to_owned()) } else { Scope::Host };
        let kind = match kind {
            0 => PlacementKind::Apart { guests, scope, most },
            1 => PlacementKind::Together { guests, scope },
            2 => PlacementKind::Spread { guests, scope, least: most + 1 },
            3 => PlacementKind::On { guests, hosts },
            _ => PlacementKind::NotOn { guests, hosts },
        };
        (kind, if preferred { Strength::Preferred(0.3) } else { Strength::Required })
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let hosts = prop::collection::vec((4.0..64.0f64, 16u64..128), 2..6);
    let guests = prop::collection::vec((0usize..6, 512u64..16_384, 0.0..4.0f64), 1..24);
    (hosts, guests).prop_flat_map(|(hosts, guests)| {
        let rules = prop::collection::vec(wishes(guests.len(), hosts.len()), 0..4);
        (Just(hosts), Just(guests), rules).prop_map(|(hosts, guests, rules)| {
            let mut cluster = Cluster::new();
            let mut placement = PlacementPolicy::default();
            let count = hosts.len();
            for (n, (cores, gib)) in hosts.iter().enumerate() {
                let mine = guests.iter().filter(|guest| guest.0 % count == n);
                let (used, mib) = mine.fold((0.0, 0u64), |(c, m), g| (c + g.2, m + g.1));
                #[allow(clippy::cast_precision_loss)]
                let free = (*gib as f64 - mib as f64 / 1024.0).max(0.1);
                let id = n as u128 + 1;
                cluster = cluster.host(id, *cores, *gib, (used * 100.0 / cores).min(100.0), free);
                let racks = placement.labels.entry("rack".to_owned()).or_default();
                racks.insert(host_id(id), format!("r{}", n / 2));
            }
            for (n, (on, mib, cores)) in guests.iter().enumerate() {
                cluster = cluster.guest(n as u128 + 1, (on % count) as u128 + 1, *mib, *cores);
            }
            placement.rules = rules
                .into_iter()
                .enumerate()
                .map(|(n, (kind, strength))| PlacementRule {
                    name: format!("w{n}"),
                    kind,
                    strength,
                })
                .collect();
            Case { view: cluster.view(), placement }
        })
    })
}

fn goals() -> impl Strategy<Value = Goal> {
    prop_oneof![
        (1u8..6).prop_map(|n| Goal::Balance { level: Level::of(n).unwrap() }),
        Just(Goal::Drain { hosts: vec![host_id(1)] }),
        Just(Goal::Consolidate { spare: 1 }),
        Just(Goal::Repair),
    ]
}

fn run(case: &Case, goal: Goal, budget: &Budget, seed: u64) -> (Plan, drover_planner::PlanReport) {
    let policy = Policy::new(goal, case.placement.clone());
    plan(&case.view, &policy, budget, &mut Pcg64::new(seed.into(), 1))
}

const SHORT: Budget = Budget {
    max_moves: 12,
    max_out_per_host: 2,
    max_in_per_host: 2,
    max_per_batch: 4,
    effort: 1,
    cores: 1,
};

/// Every so manieth guest is emulated, by the hosts' QEMU 7.2; which are.
fn emulate(case: &mut Case, every: u128) -> BTreeSet<GuestId> {
    let all = 1..=case.view.guests.len() as u128;
    let emulated: BTreeSet<GuestId> = all.step_by(every as usize).map(guest_id).collect();
    for guest in &emulated {
        case.view.guests.get_mut(guest).unwrap().guest.virt_type = "qemu".to_owned();
    }
    emulated
}

#[test]
fn a_drain_on_request_takes_an_emulated_guest_and_one_of_drovers_own_names_it() {
    let cluster = Cluster::new().host(1, 16.0, 64, 20.0, 60.0).host(2, 16.0, 64, 5.0, 60.0);
    let view = cluster.guest(1, 1, 1024, 1.0).guest(2, 1, 1024, 1.0).view();
    let mut case = Case { view, placement: PlacementPolicy::default() };
    let emulated = emulate(&mut case, 2);
    let drain = || Goal::Drain { hosts: vec![host_id(1)] };
    let (plan, report) = run(&case, drain(), &SHORT, 1);
    assert_eq!((plan.moves().count(), &report.unplaced[..]), (1, &[guest_id(1)][..]));
    let why = report.refused.iter().find(|one| one.guest == guest_id(1) && one.host.is_none());
    let why = why.unwrap();
    assert_eq!(why.constraint, Constraint::EmulatedMemory);
    assert!(why.reason.contains("QEMU 7.2.22") && why.reason.contains("what to do"), "{why:?}");
    case.placement.initiative = Initiative::Request;
    let (plan, report) = run(&case, drain(), &SHORT, 1);
    assert_eq!((plan.moves().count(), report.unplaced), (2, vec![]));
    // A guest that starts anew elsewhere has lost what it had anyway.
    case.placement.initiative = Initiative::Own;
    case.view.hosts.get_mut(&host_id(1)).unwrap().host.state = HostState::Unreachable;
    let (plan, _) = run(&case, Goal::Restart { hosts: vec![host_id(1)] }, &SHORT, 1);
    assert!(plan.moves().any(|step| emulated.contains(&step.step.guest)), "{plan:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn invariant_every_goal_keeps_every_constraint_at_every_moment(
        case in cases(), goal in goals(), seed: u64,
    ) {
        let (plan, _) = run(&case, goal, &SHORT, seed);
        let broken =
            audit::check_plan(&Projection::of(&case.view), &case.placement, &plan.steps());
        prop_assert_eq!(broken, vec![]);
        for batch in &plan.batches {
            prop_assert!(batch.len() <= SHORT.max_per_batch);
            for host in case.view.hosts.keys() {
                let out = batch.iter().filter(|step| step.step.from == *host).count();
                let into = batch.iter().filter(|step| step.step.to == *host).count();
                prop_assert!(out <= SHORT.max_out_per_host && into <= SHORT.max_in_per_host);
            }
        }
    }

    #[test]
    fn invariant_no_plan_takes_a_guest_where_a_check_refused_it(
        mut case in cases(),
        goal in goals(),
        pairs in prop::collection::vec((0u128..24, 0u128..6), 1..16),
        seed: u64,
    ) {
        let until = case.view.at.plus(Duration::from_secs(60));
        let (reason, way) = ("no".to_owned(), case.placement.way());
        let refusal = KnownRefusal { reason, at: case.view.at, until, way };
        for (guest, host) in pairs {
            let (guest, host) = (guest_id(guest + 1), host_id(host + 1));
            let known = case.placement.refused.entry(guest).or_default();
            // Nobody asks whether a guest can go where it is.
            if case.view.guests.get(&guest).is_some_and(|of| of.guest.host == host) {
                known.everywhere = Some(refusal.clone());
            } else {
                known.to.insert(host, refusal.clone());
            }
        }
        let (plan, _) = run(&case, goal, &SHORT, seed);
        let broken =
            audit::check_plan(&Projection::of(&case.view), &case.placement, &plan.steps());
        prop_assert_eq!(broken, vec![]);
    }

    #[test]
    fn invariant_no_plan_of_drovers_own_moves_a_guest_that_would_lose_memory(
        mut case in cases(), goal in goals(), every in 1u128..4, threshold in 20.0..80.0f64,
        relieves: bool, seed: u64,
    ) {
        let emulated = emulate(&mut case, every);
        let condition: Condition = format!("cpu.usage_active > {threshold}").parse().unwrap();
        let hosts = case.view.hosts.keys().copied().collect();
        let goal = if relieves { Goal::Relieve { condition, hosts } } else { goal };
        let (plan, _) = run(&case, goal, &SHORT, seed);
        let moved = plan.moves().find(|step| emulated.contains(&step.step.guest));
        prop_assert!(moved.is_none(), "{moved:?}");
    }

    #[test]
    fn invariant_a_drain_on_request_moves_no_other_emulated_guest_to_make_room(
        mut case in cases(), every in 1u128..4, seed: u64,
    ) {
        let emulated = emulate(&mut case, every);
        case.placement.initiative = Initiative::Request;
        let (plan, _) = run(&case, Goal::Drain { hosts: vec![host_id(1)] }, &SHORT, seed);
        for step in plan.moves().filter(|step| emulated.contains(&step.step.guest)) {
            let home = case.view.guests[&step.step.guest].guest.host;
            prop_assert_eq!(home, host_id(1), "{:?}", step);
        }
    }

    #[test]
    fn invariant_a_plan_leads_exactly_to_what_it_forecasts(
        case in cases(), goal in goals(), seed: u64,
    ) {
        let (plan, _) = run(&case, goal, &SHORT, seed);
        let mut projection = Projection::of(&case.view);
        for step in plan.moves() {
            projection.book(step.step);
            let value = |host| projection.value(host, step.metric).unwrap();
            prop_assert!((value(step.step.from) - step.from.1).abs() < 1e-6);
            prop_assert!((value(step.step.to) - step.to.1).abs() < 1e-6);
        }
    }

    #[test]
    fn invariant_every_goal_makes_the_same_plan_for_the_same_seed(
        case in cases(), goal in goals(), seed: u64,
    ) {
        prop_assert_eq!(run(&case, goal.clone(), &SHORT, seed), run(&case, goal, &SHORT, seed));
    }

    #[test]
    fn invariant_no_plan_breaks_a_wish_that_must_hold(
        case in cases(), goal in goals(), seed: u64,
    ) {
        let (_, report) = run(&case, goal, &SHORT, seed);
        let required = |broken: &[String]| {
            broken.iter().filter(|text| text.contains("(required)")).count()
        };
        prop_assert!(required(&report.broken.1) <= required(&report.broken.0), "{:?}", report.broken);
    }

    #[test]
    fn invariant_what_a_drain_leaves_has_no_place(case in cases(), seed: u64) {
        let goal = Goal::Drain { hosts: vec![host_id(1)] };
        let (plan, report) = run(&case, goal, &SHORT, seed);
        let moved: Vec<GuestId> = plan.moves().map(|step| step.step.guest).collect();
        for guest in case.view.guests_on(host_id(1)) {
            let id = guest.guest.id;
            prop_assert!(moved.contains(&id) || report.unplaced.contains(&id), "{id} is forgotten");
        }
        // Alone on the cluster as it ends, none of them fits anywhere.
        let mut placement = case.placement.clone();
        placement.draining = vec![host_id(1)];
        let mut projection = Projection::of(&case.view);
        plan.moves().for_each(|step| projection.book(step.step));
        for guest in report.unplaced.iter().filter(|guest| !moved.contains(guest)) {
            let grouped = placement.rules.iter().any(|rule| rule.guests().contains(guest));
            for host in case.view.hosts.keys().filter(|_| !grouped) {
                let refused =
                    drover_rules::check_placement(&projection, &placement, *guest, *host);
                prop_assert!(!refused.is_empty(), "{guest} fits on {host}");
            }
        }
    }
}
