//! Random loads through the real rules and planner: guests never ping-pong, and no plan
//! lifts a target over the threshold.

use drover_sim::{Settings, Step, Trace, run};
use proptest::prelude::*;
use rand_pcg::Pcg64;

use crate::fixture::*;

/// 400 turns of 5 s.
const TURNS: u64 = 400;

prop_compose! {
    /// Guests whose load drifts by at most `drift` cores each 5 s.
    fn worlds(turns: u64)(
        cores in prop::collection::vec(4.0..16.0f64, 2..6),
        guests in prop::collection::vec((0usize..6, 512u64..4096, 0.0..3.0f64), 1..24),
        drift in 0.0..0.5f64, seed: u64,
    ) -> Settings {
        let hosts: Vec<_> = (1..=cores.len())
            .map(|n| {
                let mut spec = host(n, cores[n - 1], 128);
                spec.overhead_cores = 0.2;
                spec
            })
            .collect();
        let mut chance = Pcg64::new(seed.into(), 1);
        let mut wanted = Trace::new();
        let mut specs = Vec::new();
        for (n, (on, mib, load)) in guests.iter().enumerate() {
            specs.push(guest(n, on % cores.len() + 1, *mib));
            let mut load = *load;
            for turn in 0..turns {
                let step = Step { at: secs(turn * 5), cores: load, memory: None };
                wanted.push(&format!("vm{n}"), step).unwrap();
                load = (load + (chance.random::<f64>() * 2.0 - 1.0) * drift).clamp(0.0, 4.0);
            }
        }
        let mut made = settings(hosts, specs, wanted);
        // A move takes 15 s and less.
        made.model.dirty_factor = 4.0;
        made.seed = seed;
        made
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn invariant_no_guest_moves_again_within_its_cooldown(
        start in worlds(TURNS), threshold in 30.0..80.0f64, cooldown in 60u64..900,
    ) {
        let mut hot = rule(&format!("cpu.usage_active > {threshold}"));
        hot.cooldown = secs(cooldown);
        let settings = Settings { duration: secs(TURNS * 5), ..with_rule(start, hot) };
        let report = run(settings).unwrap();
        prop_assert_eq!(&report.violations, &Vec::<String>::new());
        for (index, moved) in report.moves.iter().enumerate() {
            let expected = moved.forecast.as_ref().unwrap().to_expected;
            prop_assert!(expected < threshold, "a target was planned over the line");
            let earlier = report.moves[..index].iter().rev().find(|m| m.guest == moved.guest);
            if let Some(earlier) = earlier {
                let rested = moved.began_s - earlier.ended_s.unwrap();
                prop_assert!(
                    rested >= cooldown as f64,
                    "{} moved again after {} s", moved.guest, rested
                );
            }
        }
    }

    #[test]
    fn invariant_steady_load_comes_to_rest(
        start in worlds(1), threshold in 30.0..80.0f64,
    ) {
        let guests = start.cluster.guests().len();
        let mut hot = rule(&format!("cpu.usage_active > {threshold}"));
        hot.cooldown = secs(0);
        let settings = Settings { duration: secs(3000), ..with_rule(start, hot) };
        let report = run(settings).unwrap();
        // Even without a cooldown: a guest never goes where it would be too much again.
        let late = report.moves.iter().filter(|moved| moved.began_s >= 2000.0).count();
        prop_assert_eq!(late, 0, "still moving after 33 minutes");
        let before = report.moves.len();
        prop_assert!(before <= guests, "{} moves of {} guests", before, guests);
    }
}
