//! Random loads through the real rules and planner: guests never ping-pong, and no plan
//! lifts a target over the threshold.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use drover_model::{ClusterView, RuleId, Timestamp};
use drover_rules::{Aggregate, Rule};
use drover_sim::{Settings, World};
use drover_testkit::Cluster;
use proptest::prelude::*;
use rand_pcg::Pcg64;

fn rule(threshold: f64, cooldown: u64) -> Rule {
    let condition: drover_rules::Condition =
        format!("cpu.usage_active > {threshold}").parse().unwrap();
    Rule {
        id: RuleId::from_u128(1),
        name: "hot".to_owned(),
        enabled: true,
        condition,
        clear: condition.default_clear(),
        period: Duration::from_secs(60),
        aggregate: Aggregate::Mean,
        evaluations: 1,
        source_hosts: vec![],
        target_hosts: vec![],
        guests: vec![],
        max_moves: 4,
        cooldown: Duration::from_secs(cooldown),
        dry_run: false,
        created: Timestamp::EPOCH,
    }
}

prop_compose! {
    fn clusters()(
        cores in prop::collection::vec(4.0..16.0f64, 2..6),
        guests in prop::collection::vec((0usize..6, 512u64..4096, 0.0..3.0f64), 1..24),
    ) -> ClusterView {
        let count = cores.len();
        let mut cluster = Cluster::new();
        for (index, cores) in cores.iter().enumerate() {
            cluster = cluster.host(index as u128 + 1, *cores, 128, 0.0, 100.0);
        }
        for (n, (on, memory, load)) in guests.iter().enumerate() {
            cluster = cluster.guest(n as u128 + 1, (on % count) as u128 + 1, *memory, *load);
        }
        cluster.view()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn invariant_no_guest_moves_again_within_its_cooldown(
        start in clusters(), threshold in 30.0..80.0f64, cooldown in 60u64..900,
        drift in 0.0..0.5f64, seed: u64,
    ) {
        let mut rng = Pcg64::new(seed.into(), 1);
        let mut world =
            World::new(Settings { start, rule: rule(threshold, cooldown), drift });
        for _ in 0..400 {
            world.tick(&mut rng);
        }
        prop_assert_eq!(&world.violations, &Vec::<String>::new());
        for (index, moved) in world.moved.iter().enumerate() {
            prop_assert!(moved.expected < threshold, "a target was planned over the line");
            let earlier =
                world.moved[..index].iter().rev().find(|m| m.step.guest == moved.step.guest);
            if let Some(earlier) = earlier {
                let rested = moved.began.since(earlier.ended);
                prop_assert!(
                    rested >= Duration::from_secs(cooldown),
                    "a guest moved again after {:?}", rested
                );
            }
        }
    }

    #[test]
    fn invariant_steady_load_comes_to_rest(
        start in clusters(), threshold in 30.0..80.0f64, seed: u64,
    ) {
        let guests = start.guests.len();
        let mut rng = Pcg64::new(seed.into(), 1);
        let mut world = World::new(Settings { start, rule: rule(threshold, 0), drift: 0.0 });
        for _ in 0..400 {
            world.tick(&mut rng);
        }
        let before = world.moved.len();
        for _ in 0..200 {
            world.tick(&mut rng);
        }
        // Even without a cooldown: a guest never goes where it would be too much again.
        prop_assert_eq!(world.moved.len(), before, "still moving after 33 minutes");
        prop_assert!(before <= guests, "{} moves of {} guests", before, guests);
    }
}
