//! What holds whatever the load, the failures and the chance.

use drover_sim::{Failure, Settings, by_chance, run};
use proptest::prelude::*;
use rand_pcg::Pcg64;

use crate::fixture::*;

prop_compose! {
    /// Hosts with tight memory, guests whose load jumps, noise, and hosts that die.
    pub fn worlds()(
        cores in prop::collection::vec(4.0..16.0f64, 2..6),
        guests in prop::collection::vec(
            (0usize..6, 512u64..4096, prop::collection::vec(0.0..4.0f64, 1..12)), 1..20,
        ),
        gib in 12u64..40, noise in 0.0..0.2f64, link in 1e7..2e9f64,
        threshold in 30.0..80.0f64, cooldown in 0u64..900, every in 300u64..4000, seed: u64,
    ) -> Settings {
        let hosts: Vec<_> = (1..=cores.len())
            .map(|n| {
                let mut spec = host(n, cores[n - 1], gib);
                spec.link = link;
                spec
            })
            .collect();
        let mut wanted = drover_sim::Trace::new();
        let mut specs = Vec::new();
        for (n, (on, mib, loads)) in guests.iter().enumerate() {
            specs.push(guest(n, on % cores.len() + 1, *mib));
            for (step, cores) in loads.iter().enumerate() {
                let at = secs(step as u64 * 300);
                let step = drover_sim::Step { at, cores: *cores, memory: None };
                wanted.push(&format!("vm{n}"), step).unwrap();
            }
        }
        let mut hot = rule(&format!("cpu.usage_active > {threshold}"));
        hot.cooldown = secs(cooldown);
        let mut made = with_rule(settings(hosts, specs, wanted), hot);
        made.model.noise = noise;
        made.seed = seed;
        let mut chance = Pcg64::new(seed.into(), 9);
        let (cluster, duration) = (&made.cluster, made.duration);
        made.failures = by_chance(cluster, secs(every), secs(200), duration, &mut chance);
        made
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn invariant_no_checker_finds_anything(settings in worlds()) {
        let report = run(settings).unwrap();
        prop_assert_eq!(report.violations, Vec::<String>::new());
    }

    #[test]
    fn invariant_the_same_seed_gives_the_same_report(settings in worlds()) {
        prop_assert_eq!(run(settings.clone()).unwrap(), run(settings).unwrap());
    }

    #[test]
    fn invariant_energy_lies_between_all_idle_and_all_busy(settings in worlds()) {
        let quiet = Settings { failures: Vec::<Failure>::new(), ..settings };
        let hosts = quiet.cluster.hosts().len() as f64;
        let report = run(quiet).unwrap();
        let kwh = report.figures.energy_kwh;
        prop_assert!((0.1 * hosts - 1e-9..=0.2 * hosts + 1e-9).contains(&kwh), "{kwh} kWh");
    }
}
