//! What a run tells of made situations.

use std::time::Duration;

use drover_model::Bytes;
use drover_rules::Aggregate;
use drover_sim::{Cluster, Failure, Replayed, Settings, SettingsError, Step, Trace, run};

use crate::fixture::*;

#[test]
fn relief_lowers_overload_and_the_forecast_comes_true() {
    let settings = with_rule(overload(), rule("cpu.usage_active > 60"));
    let still = run(settings.still()).unwrap();
    assert_eq!(still.figures.overload_host_minutes, 60.0);
    assert_eq!(still.figures.longest_overload_host.as_deref(), Some("h1"));
    assert_eq!(still.figures.moves, 0);
    assert!((still.figures.energy_kwh - 0.2875).abs() < 1e-9, "187.5 W and 100 W");
    let relieved = run(settings).unwrap();
    assert_eq!(relieved.violations, Vec::<String>::new());
    assert_eq!((relieved.figures.moves, relieved.figures.failed_moves), (1, 0));
    assert!(relieved.figures.overload_host_minutes < 2.0, "{:?}", relieved.figures);
    let moved = &relieved.moves[0];
    assert_eq!((moved.from.as_str(), moved.to.as_str()), ("h1", "h2"));
    let took = moved.ended_s.unwrap() - moved.began_s;
    // 2 GiB times 1.3 at 1.15 GB/s, and what agents take to answer.
    assert!((3.0..3.3).contains(&took), "{took} s");
    // A tenth of 3 cores while its memory is sent.
    let lost = relieved.figures.lost_to_moves_core_minutes;
    assert!((lost - 0.3 * (took - 0.7) / 60.0).abs() < 1e-4, "{lost} core-minutes");
    let forecast = moved.forecast.as_ref().unwrap();
    assert!((forecast.from_measured.unwrap() - forecast.from_expected).abs() < 0.1);
    assert!((forecast.to_measured.unwrap() - forecast.to_expected).abs() < 0.1);
}

#[test]
fn a_rule_that_never_fires_moves_nothing() {
    let settings = with_rule(overload(), rule("cpu.usage_active > 95"));
    let report = run(settings.clone()).unwrap();
    assert_eq!((report.figures.moves, report.figures.firings), (0, 0));
    assert_eq!(report.figures, run(settings.still()).unwrap().figures);
}

#[test]
fn a_dry_run_moves_nothing() {
    let mut dry = rule("cpu.usage_active > 60");
    dry.dry_run = true;
    let report = run(with_rule(overload(), dry)).unwrap();
    assert_eq!((report.figures.moves, report.figures.firings), (0, 1));
}

#[test]
fn a_full_host_gives_each_guest_its_part() {
    let hosts = vec![host(1, 2.0, 64)];
    let guests = vec![guest(1, 1, 1024), guest(2, 1, 1024)];
    let wanted = trace(&[(1, &[(0, 3.0)]), (2, &[(0, 0.5)])]);
    let report = run(settings(hosts, guests, wanted)).unwrap();
    assert_eq!(report.figures.short_guest_minutes, 60.0, "only vm1 is short");
    assert!((report.figures.unserved_core_minutes - 90.0).abs() < 1e-6);
    assert_eq!(report.host_series[0].cpu_percent[0], 100.0);
}

#[test]
fn a_host_dies_and_comes_back_with_its_guests() {
    let mut settings = overload();
    settings.failures = vec![Failure { host: host_id(1), at: secs(600), down: secs(1200) }];
    let report = run(settings).unwrap();
    assert_eq!(report.figures.down_guest_minutes, 60.0, "three guests for 20 minutes");
    assert_eq!((report.figures.host_failures, report.figures.restarts), (1, 3));
    // 8 cores at 7/8 draw 187.5 W for 40 minutes, and h2 idles at 100 W.
    assert!((report.figures.energy_kwh - (187.5 * 2.0 / 3.0 + 100.0) / 1000.0).abs() < 1e-9);
    assert_eq!(report.violations, Vec::<String>::new());
}

#[test]
fn failures_may_overlap_and_be_of_any_length() {
    let of = |spans: &[(u64, Duration)]| {
        let mut settings = overload();
        settings.failures = spans
            .iter()
            .map(|(at, down)| Failure { host: host_id(1), at: secs(*at), down: *down })
            .collect();
        let figures = run(settings).unwrap().figures;
        (figures.host_failures, figures.restarts, figures.down_guest_minutes)
    };
    assert_eq!(of(&[(600, Duration::ZERO)]), (1, 3, 0.0), "it is back at once");
    assert_eq!(of(&[(600, secs(600)), (900, secs(600))]), (1, 3, 45.0), "down for 15 minutes");
    assert_eq!(of(&[(1800, Duration::MAX)]), (1, 0, 90.0), "it does not come back");
}

/// The move takes a minute: whatever dies meanwhile, no guest runs twice or for ever nowhere.
#[test]
fn a_death_in_mid_move_loses_no_guest_for_ever() {
    for dies in [1, 2] {
        let mut settings = with_rule(overload(), rule("cpu.usage_active > 60"));
        settings.model.dirty_factor = 30.0;
        settings.failures = vec![Failure { host: host_id(dies), at: secs(80), down: secs(300) }];
        let report = run(settings).unwrap();
        assert_eq!(report.violations, Vec::<String>::new());
        let first = &report.moves[0];
        assert_eq!(first.state, "failed", "h{dies}: {first:?}");
        assert_eq!(report.figures.restarts, if dies == 1 { 3 } else { 0 }, "h{dies}");
        assert!(report.figures.moves >= 1, "it is tried again after h{dies} is back");
    }
}

#[test]
fn recorded_moves_are_repeated() {
    let moved = Replayed { at: secs(900), guest: guest_id(1), to: host_id(2), cause: "x".into() };
    let settings = Settings { replay: vec![moved], ..overload() };
    let judged = Settings { judges: vec![rule("cpu.usage_active > 60")], ..settings };
    let report = run(judged).unwrap();
    assert_eq!((report.figures.moves, report.moves[0].cause.as_str()), (1, "x"));
    let over = report.figures.overload_host_minutes;
    assert!((15.0..15.5).contains(&over), "{over}");
}

#[test]
fn a_coarse_clock_still_decides() {
    let mut settings = with_rule(overload(), rule("cpu.usage_active > 60"));
    settings.interval = secs(300);
    assert_eq!(run(settings).unwrap().figures.moves, 1);
}

#[test]
fn memory_rules_act_on_traced_memory() {
    let mut settings = overload();
    let mut wanted = Trace::new();
    for (at, gib) in [(0, 1), (1200, 4)] {
        let memory = Some(Bytes(gib << 30));
        wanted.push("vm2", Step { at: secs(at), cores: 1.0, memory }).unwrap();
    }
    settings.trace = wanted;
    settings.cluster =
        Cluster::new(vec![host(1, 8.0, 8), host(2, 8.0, 64)], settings.cluster.guests().to_vec())
            .unwrap();
    let mut low = rule("mem.available < 2GiB");
    low.aggregate = Aggregate::Min;
    let report = run(with_rule(settings, low)).unwrap();
    assert_eq!(report.figures.moves, 1, "{:?}", report.moves);
    assert!(report.moves[0].began_s >= 1200.0);
    assert_eq!(report.violations, Vec::<String>::new());
}

#[test]
fn settings_beyond_their_limits_are_refused() {
    let of = |change: fn(&mut Settings)| {
        let mut settings = overload();
        change(&mut settings);
        run(settings).unwrap_err()
    };
    assert_eq!(of(|s| s.interval = secs(0)), SettingsError::Interval);
    assert_eq!(of(|s| s.duration = secs(2)), SettingsError::Duration);
    assert!(matches!(of(|s| s.duration = secs(1 << 40)), SettingsError::TooLong { .. }));
    assert!(matches!(of(|s| s.model.noise = 2.0), SettingsError::Model(_)));
    let ghost = Failure { host: host_id(9), at: secs(1), down: secs(1) };
    let mut settings = overload();
    settings.failures = vec![ghost];
    assert_eq!(run(settings).unwrap_err(), SettingsError::Unknown("failure"));
}
