//! What must hold of every plan, on random clusters.

use drover_model::{ClusterView, HostId, Metric};
use drover_planner::{Budget, plan};
use drover_rules::{Condition, Projection, audit};
use drover_testkit::{Cluster, host_id};
use proptest::prelude::*;
use rand_pcg::Pcg64;

use crate::relief_policy;

prop_compose! {
    fn clusters()(
        hosts in prop::collection::vec((2.0..64.0f64, 8u64..256), 2..8),
        guests in prop::collection::vec((0usize..8, 256u64..16_384, 0.0..4.0f64), 0..40),
        noise in 0.0..20.0f64,
    ) -> ClusterView {
        let count = hosts.len();
        let mut cluster = Cluster::new();
        for (index, (cores, gib)) in hosts.iter().enumerate() {
            let mine = guests.iter().filter(|guest| guest.0 % count == index);
            let (used, memory) = mine.fold((0.0, 0u64), |(cpu, mem), g| (cpu + g.2, mem + g.1));
            let percent = (used * 100.0 / cores + noise).min(100.0);
            #[allow(clippy::cast_precision_loss)]
            let free = (*gib as f64 - memory as f64 / 1024.0).max(0.1);
            cluster = cluster.host(index as u128 + 1, *cores, *gib, percent, free);
        }
        for (n, (on, memory, cores)) in guests.iter().enumerate() {
            cluster = cluster.guest(n as u128 + 1, (on % count) as u128 + 1, *memory, *cores);
        }
        cluster.view()
    }
}

fn all_hosts(view: &ClusterView) -> Vec<HostId> {
    view.hosts.keys().copied().collect()
}

proptest! {
    #[test]
    fn invariant_every_plan_keeps_every_constraint_at_every_moment(
        view in clusters(), threshold in 30.0..90.0f64, seed: u64,
    ) {
        let policy = relief_policy(&format!("cpu.usage_active > {threshold}"), all_hosts(&view));
        let budget = Budget::default();
        let (plan, _) = plan(&view, &policy, &budget, &mut Pcg64::new(seed.into(), 1));
        let violations =
            audit::check_plan(&Projection::of(&view), &policy.placement, &plan.steps());
        prop_assert_eq!(violations, vec![]);
        prop_assert!(plan.moves().count() <= budget.max_moves);
    }

    #[test]
    fn invariant_no_move_is_more_than_needed(
        view in clusters(), threshold in 30.0..90.0f64, seed: u64,
    ) {
        let text = format!("cpu.usage_active > {threshold}");
        let condition: Condition = text.parse().unwrap();
        let policy = relief_policy(&text, all_hosts(&view));
        let (plan, _) =
            plan(&view, &policy, &Budget::default(), &mut Pcg64::new(seed.into(), 1));
        // Where no single move relieves anything, others make room: judged by its own goal.
        prop_assume!(!plan.moves().any(|step| step.why_guest.starts_with("single moves")));
        let mut projection = Projection::of(&view);
        for step in plan.moves() {
            let source = projection.value(step.step.from, Metric::CpuUsageActive).unwrap();
            prop_assert!(condition.holds(source), "moved away from a host at {}", source);
            prop_assert!((source - step.from.0).abs() < 1e-6);
            projection.book(step.step);
            let after = projection.value(step.step.to, Metric::CpuUsageActive).unwrap();
            prop_assert!(!condition.holds(after), "lifted a target to {}", after);
            prop_assert!((after - step.to.1).abs() < 1e-6);
        }
    }

    #[test]
    fn invariant_the_same_seed_gives_the_same_plan(view in clusters(), seed: u64) {
        let policy = relief_policy("cpu.usage_active > 50", all_hosts(&view));
        let run = || plan(&view, &policy, &Budget::default(), &mut Pcg64::new(seed.into(), 1));
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn invariant_refused_hosts_are_really_refused(view in clusters()) {
        let policy = relief_policy("cpu.usage_active > 50", all_hosts(&view));
        let (plan, report) =
            plan(&view, &policy, &Budget::default(), &mut Pcg64::new(1, 1));
        prop_assume!(plan.is_empty());
        let projection = Projection::of(&view);
        for refused in report.refused.iter().filter(|r| r.host.is_some()) {
            let host = refused.host.unwrap_or(host_id(0));
            let again =
                drover_rules::check_placement(&projection, &policy.placement, refused.guest, host);
            prop_assert!(again.iter().any(|r| r.constraint == refused.constraint));
        }
    }
}
