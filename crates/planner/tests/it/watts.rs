//! Relief and limits in watts: a guest takes with it what follows the CPU, and no more.

use drover_model::{ClusterView, HostState, Metric, PowerSource, Reading};
use drover_planner::{Budget, Goal, Level, Plan, PlanReport, Policy, plan};
use drover_rules::constraint::{Ceiling, Constraint, PowerCap};
use drover_rules::{Condition, PlacementPolicy, Projection, audit};
use drover_testkit::{Cluster, guest_id, host_id};
use proptest::prelude::*;
use rand_pcg::Pcg64;

use crate::{relief_policy, relieve, shown};

/// h1 draws 260 W: 100 at rest, 16 W for each of its ten busy cores. h2 rests at 60 W.
fn two() -> Cluster {
    Cluster::new()
        .host(1, 16.0, 64, 62.5, 40.0)
        .host(2, 16.0, 64, 5.0, 60.0)
        .power(1, 260.0, 100.0, 356.0)
        .power(2, 68.0, 60.0, 220.0)
        .guest(1, 1, 1024, 1.0)
        .guest(2, 1, 512, 0.25)
        .guest(3, 1, 2048, 4.0)
}

#[test]
fn a_guest_takes_its_busy_cores_and_gives_them_to_the_target_by_the_targets_line() {
    let view = two().view();
    let (plan, report) = relieve(&view, "power.watts > 250");
    // 16 W cover the excess of 10; 4 W do not, and 64 W are more than needed.
    assert_eq!(shown(&view, &plan), "vm1 h1→h2");
    let step = plan.moves().next().unwrap();
    assert_eq!(step.metric, Metric::PowerWatts);
    assert_eq!((step.from, step.to), ((260.0, 244.0), (68.0, 78.0)));
    assert_eq!(report.summary, "1 move(s): h1 260.0 W → 244.0 W");
    assert!(step.why_guest.contains("16.0 W covers the excess of 10.0 W"), "{}", step.why_guest);
}

#[test]
fn what_a_host_draws_at_rest_cannot_be_moved_away() {
    let view = two().view();
    let (plan, report) = relieve(&view, "power.watts > 170");
    assert_eq!(plan.moves().count(), 3);
    assert_eq!(report.hosts[0].unrelieved.as_deref(), Some("h1 has no guest left"));
    assert_eq!(report.hosts[0].after, 176.0);
    let stay = two().with(|view| {
        view.hosts.get_mut(&host_id(2)).unwrap().host.state = HostState::Unreachable;
    });
    let (_, report) = relieve(&stay.view(), "power.watts > 170");
    let why = report.hosts[0].unrelieved.as_ref().unwrap();
    assert!(why.contains("together they draw, beside what it draws at rest, 84.0 W"), "{why}");
}

#[test]
fn a_target_stays_below_the_threshold_in_watts_with_a_margin() {
    let view = two().power(2, 224.0, 60.0, 220.0).view();
    let (plan, report) = relieve(&view, "power.watts > 250");
    assert!(plan.is_empty());
    let reason =
        &report.refused.iter().find(|r| r.constraint == Constraint::Threshold).unwrap().reason;
    assert!(reason.contains("h2 would go from 224.0 W to 234.0 W"), "{reason}");
    assert!(reason.contains("a margin of 25.0 W"), "{reason}");
}

fn unmeasured(cluster: Cluster) -> ClusterView {
    cluster
        .with(|view| {
            let h2 = view.hosts.get_mut(&host_id(2)).unwrap();
            h2.readings.remove(&Metric::PowerWatts);
            h2.lines.clear();
        })
        .view()
}

fn watched(hosts: &[u128]) -> Policy {
    let condition: Condition = "power.watts > 250".parse().unwrap();
    let mut policy = relief_policy("power.watts > 250", vec![host_id(1)]);
    policy.placement.ceilings = vec![Ceiling {
        condition,
        hosts: vec![],
        watched: hosts.iter().map(|n| host_id(*n)).collect(),
        rule: "hot".to_owned(),
    }];
    policy
}

fn run(view: &ClusterView, policy: &Policy) -> (Plan, PlanReport) {
    plan(view, policy, &Budget::default(), &mut Pcg64::new(1, 1))
}

#[test]
fn a_target_without_watts_is_used_unless_a_rule_watches_it() {
    let view = unmeasured(two());
    let (plan, _) = run(&view, &watched(&[1]));
    assert_eq!(shown(&view, &plan), "vm1 h1→h2");
    let step = plan.moves().next().unwrap();
    assert_eq!(step.metric, Metric::CpuUsageActive, "no watts are made up for h2");
    let (plan, report) = run(&view, &watched(&[1, 2]));
    assert!(plan.is_empty());
    let reason =
        &report.refused.iter().find(|r| r.constraint == Constraint::Threshold).unwrap().reason;
    assert!(reason.contains("power.watts of h2 is not known"), "{reason}");
    // A learned line speaks for a sensor that is silent.
    let silent = two().with(|view| {
        view.hosts.get_mut(&host_id(2)).unwrap().readings.remove(&Metric::PowerWatts);
    });
    let (plan, _) = run(&silent.view(), &watched(&[1, 2]));
    let step = plan.moves().next().unwrap();
    assert_eq!((step.metric, step.to), (Metric::PowerWatts, (68.0, 78.0)));
}

#[test]
fn what_was_not_learned_has_the_usual_shape_through_what_is_measured() {
    let view =
        two().with(|view| view.hosts.values_mut().for_each(|host| host.lines.clear())).view();
    // 260 W at 62.5 % are 320 W at full and 160 at rest: 10 W a core.
    let (plan, _) = relieve(&view, "power.watts > 255");
    let step = plan.moves().next().unwrap();
    assert_eq!(step.from, (260.0, 250.0));
}

#[test]
fn an_estimate_is_called_one() {
    let view = two()
        .with(|view| {
            let h1 = view.hosts.get_mut(&host_id(1)).unwrap();
            h1.host.capabilities.power_sources = vec![PowerSource::Model];
        })
        .view();
    let (_, report) = relieve(&view, "power.watts > 250");
    assert!(report.hosts[0].estimate);
    assert_eq!(report.summary, "1 move(s): h1 260.0 W → 244.0 W by estimate");
}

#[test]
fn packages_are_a_metric_of_their_own() {
    let package = |view: &mut ClusterView, n, watts| {
        let host = view.hosts.get_mut(&host_id(n)).unwrap();
        let line = host.lines[&Metric::PowerWatts];
        host.lines
            .insert(Metric::PowerPackageWatts, drover_model::PowerLine { idle: 20.0, ..line });
        host.readings.insert(Metric::PowerPackageWatts, drover_testkit::known(watts));
    };
    let cluster = two().with(|view| {
        package(view, 1, 180.0);
        package(view, 2, 30.0);
    });
    let view = cluster.view();
    let (plan, _) = relieve(&view, "power.package_watts > 170");
    let step = plan.moves().next().unwrap();
    assert_eq!((step.metric, step.from), (Metric::PowerPackageWatts, (180.0, 159.0)));
}

prop_compose! {
    /// Hosts that draw what their line says of their CPU, more or less; some are not measured.
    fn clusters()(
        hosts in prop::collection::vec(
            (4.0..32.0f64, 20.0..200.0f64, 1.0..15.0f64, -10.0..10.0f64, 0u8..6), 2..7),
        guests in prop::collection::vec((0usize..7, 256u64..8192, 0.01..3.0f64), 0..30),
    ) -> ClusterView {
        let count = hosts.len();
        let mut cluster = Cluster::new();
        for (index, (cores, idle, per_core, error, measured)) in hosts.iter().enumerate() {
            let mine = guests.iter().filter(|guest| guest.0 % count == index);
            let used: f64 = mine.map(|guest| guest.2).sum();
            let percent = (used * 100.0 / cores + 1.0).min(100.0);
            let n = index as u128 + 1;
            cluster = cluster.host(n, *cores, 512, percent, 400.0);
            let full = idle + per_core * cores;
            let watts = (idle + (full - idle) * percent / 100.0 + error).max(1.0);
            cluster = cluster.power(n, watts, *idle, full);
            if *measured == 0 {
                cluster = cluster.with(|view| {
                    let host = view.hosts.get_mut(&host_id(n)).unwrap();
                    host.readings.remove(&Metric::PowerWatts);
                    host.lines.clear();
                });
            }
        }
        for (n, (on, memory, cores)) in guests.iter().enumerate() {
            cluster = cluster.guest(n as u128 + 1, (on % count) as u128 + 1, *memory, *cores);
        }
        cluster.view()
    }
}

/// No host that a plan sends a guest to comes near the limit.
fn keeps(view: &ClusterView, plan: &Plan, placement: &PlacementPolicy, limit: f64) {
    let violations = audit::check_plan(&Projection::of(view), placement, &plan.steps());
    assert_eq!(violations, vec![]);
    let mut projection = Projection::of(view);
    for step in plan.moves() {
        projection.book(step.step);
        let after = projection.value(step.step.to, Metric::PowerWatts);
        assert!(after.is_none_or(|watts| watts <= limit * 0.9 + 1e-3), "{after:?} of {limit}");
        let idle = view.hosts[&step.step.from].lines.get(&Metric::PowerWatts);
        let known = matches!(
            view.hosts[&step.step.from].readings.get(&Metric::PowerWatts),
            Some(Reading::Known { .. })
        );
        if let (Some(idle), true) = (idle, known) {
            let source = projection.value(step.step.from, Metric::PowerWatts).unwrap();
            assert!(source > idle.idle - 10.1, "{source} W is less than at rest: {idle:?}");
        }
    }
}

proptest! {
    #[test]
    fn invariant_no_relief_brings_a_target_near_the_threshold_in_watts(
        view in clusters(), limit in 100.0..400.0f64, seed: u64,
    ) {
        let hosts = view.hosts.keys().copied().collect();
        let policy = relief_policy(&format!("power.watts > {limit}"), hosts);
        let budget = Budget::default();
        let (plan, _) = plan(&view, &policy, &budget, &mut Pcg64::new(seed.into(), 1));
        keeps(&view, &plan, &policy.placement, limit);
    }

    #[test]
    fn invariant_no_other_goal_does_either(
        view in clusters(), limit in 100.0..400.0f64, which in 0u8..3, seed: u64,
    ) {
        let first = *view.hosts.keys().next().unwrap();
        let goal = match which {
            0 => Goal::Balance { level: Level::Aggressive },
            1 => Goal::Drain { hosts: vec![first] },
            _ => Goal::Consolidate { spare: 1 },
        };
        let placement = relief_policy(&format!("power.watts > {limit}"), vec![]).placement;
        let policy = Policy::new(goal, placement);
        let budget = Budget { max_moves: 20, effort: 2, ..Budget::default() };
        let (plan, _) = plan(&view, &policy, &budget, &mut Pcg64::new(seed.into(), 1));
        keeps(&view, &plan, &policy.placement, limit);
    }
}

fn cap(hosts: &[u128], watts: f64) -> PowerCap {
    let hosts = hosts.iter().map(|n| host_id(*n)).collect();
    PowerCap { name: "rack1".to_owned(), hosts, off: vec![], watts }
}

fn capped(goal: Goal, caps: &[PowerCap]) -> Policy {
    let placement = PlacementPolicy { power_caps: caps.to_vec(), ..PlacementPolicy::default() };
    Policy::new(goal, placement)
}

/// h1 (260 W) and h2 (68 W) are a rack; h3 rests at 50 W outside of it.
fn three() -> Cluster {
    two().host(3, 16.0, 64, 1.0, 60.0).power(3, 50.0, 50.0, 210.0)
}

#[test]
fn a_group_above_its_cap_sends_guests_outside_and_the_cheapest_that_is_enough() {
    let view = three().view();
    let group = cap(&[1, 2], 320.0);
    let (plan, report) = run(&view, &capped(Goal::Shed { group: group.clone() }, &[group]));
    // 8 W too much: vm2's 4 W are not enough, vm1's 16 W are.
    assert_eq!(shown(&view, &plan), "vm1 h1→h3");
    assert_eq!(report.summary, "1 move(s): the hosts of `rack1` 328.0 W → 312.0 W");
    let group = cap(&[1, 2, 3], 370.0);
    let (plan, report) = run(&view, &capped(Goal::Shed { group: group.clone() }, &[group]));
    assert!(plan.is_empty(), "there is nothing outside");
    assert!(report.summary.contains("none of its guests can leave"), "{}", report.summary);
    assert!(report.hosts.iter().all(|host| host.unrelieved.is_some()));
}

#[test]
fn nothing_is_placed_where_a_group_would_go_above_its_cap() {
    let view = three().view();
    let place = |to, caps: &[PowerCap]| {
        let goal = Goal::Place { guest: guest_id(1), to: Some(host_id(to)) };
        let (plan, report) = run(&view, &capped(goal, caps));
        let refused = report.refused.iter().find(|one| one.constraint == Constraint::PowerCap);
        (plan.moves().count(), refused.map(|one| one.reason.clone()))
    };
    // 10 W more on h3, with 50 W there and 68 W on h2.
    assert_eq!(place(3, &[cap(&[2, 3], 128.0)]), (1, None));
    let (moves, reason) = place(3, &[cap(&[2, 3], 127.0)]);
    let reason = reason.unwrap();
    assert_eq!(moves, 0);
    assert!(
        reason.contains("would draw 128.0 W of at most 127.0 W, and draw 118.0 W now"),
        "{reason}"
    );
    // Inside of the group it counts once: 16 W leave h1, 10 W come to h2.
    assert_eq!(place(2, &[cap(&[1, 2], 300.0)]), (1, None));
}

#[test]
fn a_host_of_which_nothing_is_known_closes_its_group_and_a_parked_one_draws_nothing() {
    let silent = |view: &mut ClusterView, learned: bool| {
        let host = view.hosts.get_mut(&host_id(2)).unwrap();
        host.readings.remove(&Metric::PowerWatts);
        host.readings.remove(&Metric::CpuUsageActive);
        if !learned {
            host.lines.clear();
        }
    };
    let place = |view: &ClusterView, cap: PowerCap| {
        let goal = Goal::Place { guest: guest_id(1), to: Some(host_id(3)) };
        let (plan, report) = run(view, &capped(goal, &[cap]));
        assert_eq!(plan.is_empty(), !report.refused.is_empty());
        report.refused.first().map(|one| one.reason.clone())
    };
    let unknown = three().with(|view| silent(view, false)).view();
    let why = place(&unknown, cap(&[2, 3], 9000.0)).unwrap();
    assert!(why.contains("what h2 draws is not known"), "{why}");
    let parked = PowerCap { off: vec![host_id(2)], ..cap(&[2, 3], 61.0) };
    assert_eq!(place(&unknown, parked), None);
    // Its learned line says what it draws at most.
    let learned = three().with(|view| silent(view, true)).view();
    assert_eq!(place(&learned, cap(&[2, 3], 281.0)), None);
    let why = place(&learned, cap(&[2, 3], 279.0)).unwrap();
    assert!(why.contains("draw 270.0 W now"), "{why}");
}

proptest! {
    #[test]
    fn invariant_no_plan_brings_a_group_above_its_cap(
        view in clusters(),
        groups in prop::collection::vec((prop::collection::vec(any::<bool>(), 7), 0.9..1.3f64), 1..3),
        which in 0u8..6,
        seed: u64,
    ) {
        let hosts: Vec<_> = view.hosts.keys().copied().collect();
        let start = Projection::of(&view);
        let caps: Vec<PowerCap> = groups
            .iter()
            .map(|(members, part)| {
                let of: Vec<_> =
                    hosts.iter().zip(members).filter(|(_, in_it)| **in_it).map(|(h, _)| *h).collect();
                let all = PowerCap { name: "rack".to_owned(), hosts: of, off: vec![], watts: 0.0 };
                let watts = all.drawn(&start).unwrap_or(1000.0) * part;
                PowerCap { watts, ..all }
            })
            .collect();
        let guest = view.guests.keys().next().copied();
        let goal = match (which, guest) {
            (0, _) => Goal::Balance { level: Level::Aggressive },
            (1, _) => Goal::Drain { hosts: vec![hosts[0]] },
            (2, _) => Goal::Consolidate { spare: 1 },
            (3, Some(guest)) => Goal::Place { guest, to: None },
            (4, _) => {
                let condition = "cpu.usage_active > 20".parse().unwrap();
                Goal::Relieve { condition, hosts: hosts.clone() }
            }
            _ => Goal::Shed { group: caps[0].clone() },
        };
        let policy = capped(goal, &caps);
        let budget = Budget { max_moves: 20, effort: 2, ..Budget::default() };
        let (plan, _) = plan(&view, &policy, &budget, &mut Pcg64::new(seed.into(), 1));
        let violations = audit::check_plan(&start, &policy.placement, &plan.steps());
        prop_assert_eq!(violations, vec![]);
        let mut projection = start.clone();
        for step in plan.moves() {
            projection.book(step.step);
            for cap in &caps {
                let (Ok(before), Ok(after)) = (cap.drawn(&start), cap.drawn(&projection)) else {
                    prop_assert!(!cap.hosts.contains(&step.step.to), "into a group that is not known");
                    continue;
                };
                let most = before.max(cap.watts) + 1e-6;
                prop_assert!(after <= most, "{} of {} after {:?}", after, most, step.step);
            }
        }
    }
}
