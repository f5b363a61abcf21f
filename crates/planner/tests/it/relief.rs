//! Relief of hosts over a threshold, as tables.

use drover_model::{HostState, Metric, MissingReason, Reading};
use drover_testkit::{Cluster, NOW, host_id};

use crate::{relieve, shown};

/// Ten guests of 8 points on a host at 84 %, threshold 80: Cloudpods 3.9 to 4.0 moves all
/// ten (its balancer.go never reduces the source's value).
#[test]
fn a_gap_of_one_guest_moves_one_guest() {
    let mut cluster = Cluster::new()
        .host(1, 10.0, 64, 84.0, 40.0)
        .host(2, 10.0, 64, 10.0, 60.0)
        .host(3, 10.0, 64, 20.0, 60.0);
    for n in 1..=10 {
        cluster = cluster.guest(n, 1, 1024, 0.8);
    }
    let view = cluster.view();
    let (plan, report) = relieve(&view, "cpu.usage_active > 80");
    assert_eq!(shown(&view, &plan), "vm1 h1→h2");
    assert_eq!(report.summary, "1 move(s): h1 84.0 % → 76.0 %");
}

/// The same with targets at 70 and 72 %: nothing may come near the threshold.
#[test]
fn a_target_stays_below_the_threshold_with_a_margin() {
    let view = Cluster::new()
        .host(1, 10.0, 64, 84.0, 40.0)
        .host(2, 10.0, 64, 70.0, 60.0)
        .host(3, 10.0, 64, 72.0, 60.0)
        .guest(1, 1, 1024, 0.8)
        .view();
    let (plan, report) = relieve(&view, "cpu.usage_active > 80");
    assert_eq!(shown(&view, &plan), "");
    let reason = &report.refused.iter().find(|r| r.host == Some(host_id(2))).unwrap().reason;
    assert!(reason.contains("h2 would go from 70.0 % to 78.0 %"), "{reason}");
    assert!(report.hosts[0].unrelieved.is_some());
}

#[test]
fn the_cheapest_sufficient_guest_goes_and_not_the_largest() {
    let view = Cluster::new()
        .host(1, 10.0, 64, 65.0, 40.0)
        .host(2, 10.0, 64, 10.0, 60.0)
        .guest(1, 1, 8192, 3.0)
        .guest(2, 1, 512, 0.8)
        .guest(3, 1, 512, 0.2)
        .view();
    let (plan, _) = relieve(&view, "cpu.usage_active > 60");
    assert_eq!(shown(&view, &plan), "vm2 h1→h2");
}

#[test]
fn the_largest_goes_first_when_one_is_not_enough() {
    let view = Cluster::new()
        .host(1, 10.0, 64, 90.0, 40.0)
        .host(2, 10.0, 64, 10.0, 60.0)
        .host(3, 10.0, 64, 12.0, 60.0)
        .guest(1, 1, 1024, 1.0)
        .guest(2, 1, 1024, 2.0)
        .guest(3, 1, 1024, 1.5)
        .guest(4, 1, 1024, 1.2)
        .view();
    let (plan, report) = relieve(&view, "cpu.usage_active > 60");
    assert_eq!(shown(&view, &plan), "vm2 h1→h2, vm4 h1→h3");
    assert!(report.hosts[0].unrelieved.is_none());
}

#[test]
fn shares_are_counted_in_each_host_s_own_cores() {
    // 2 cores are 20 % of h1 and 50 % of h2: h2 would go from 20 to 70 %.
    let view = Cluster::new()
        .host(1, 10.0, 64, 70.0, 40.0)
        .host(2, 4.0, 64, 20.0, 60.0)
        .guest(1, 1, 1024, 2.0)
        .view();
    let (plan, report) = relieve(&view, "cpu.usage_active > 60");
    assert_eq!(shown(&view, &plan), "");
    assert!(report.refused[0].reason.contains("20.0 % to 70.0 %"), "{:?}", report.refused);
}

#[test]
fn the_worst_host_comes_first() {
    let view = Cluster::new()
        .host(1, 10.0, 64, 65.0, 40.0)
        .host(2, 10.0, 64, 95.0, 40.0)
        .host(3, 10.0, 64, 5.0, 60.0)
        .guest(1, 1, 1024, 1.0)
        .guest(2, 2, 1024, 4.0)
        .view();
    let (plan, report) = relieve(&view, "cpu.usage_active > 60");
    assert_eq!(shown(&view, &plan), "vm2 h2→h3");
    assert_eq!(report.hosts[0].host, host_id(2));
    assert!(report.hosts[1].unrelieved.is_some(), "h3 would go to 55 %: too near to 60");
}

#[test]
fn memory_is_relieved_by_resident_memory_and_the_target_keeps_the_configured_size() {
    let view = Cluster::new()
        .host(1, 10.0, 64, 20.0, 3.0)
        .host(2, 10.0, 64, 20.0, 5.0)
        .host(3, 10.0, 64, 20.0, 30.0)
        .guest(1, 1, 2048, 0.1)
        .view();
    let (plan, _) = relieve(&view, "mem.available < 4GiB");
    assert_eq!(shown(&view, &plan), "vm1 h1→h3");
}

#[test]
fn a_host_without_fresh_samples_is_named_and_never_a_target() {
    let view = Cluster::new()
        .host(1, 10.0, 64, 84.0, 40.0)
        .host(2, 10.0, 64, 10.0, 60.0)
        .guest(1, 1, 1024, 0.8)
        .with(|view| {
            let stale = MissingReason::Stale { age_ms: 90_000, limit_ms: 16_000 };
            let h2 = view.hosts.get_mut(&host_id(2)).unwrap();
            h2.readings.insert(Metric::CpuUsageActive, Reading::Missing(stale));
        })
        .view();
    let (plan, report) = relieve(&view, "cpu.usage_active > 80");
    assert!(plan.is_empty());
    assert_eq!(report.unknown[0].0, host_id(2));
    assert!(report.refused.iter().any(|r| r.reason.contains("90.0 s old")), "{report:?}");
}

#[test]
fn cooldown_state_and_unreachable_hosts_are_refused_with_their_reasons() {
    let view = Cluster::new()
        .host(1, 10.0, 64, 84.0, 40.0)
        .host(2, 10.0, 64, 10.0, 60.0)
        .guest(1, 1, 1024, 0.8)
        .guest(2, 1, 1024, 0.8)
        .with(|view| {
            let moved = NOW.minus(std::time::Duration::from_secs(60));
            view.guests.values_mut().next().unwrap().last_moved = Some(moved);
            view.hosts.get_mut(&host_id(2)).unwrap().host.state = HostState::Unreachable;
        })
        .view();
    let (plan, report) = relieve(&view, "cpu.usage_active > 80");
    assert!(plan.is_empty());
    let constraints: Vec<&str> = report.refused.iter().map(|r| r.constraint.as_str()).collect();
    assert_eq!(constraints, ["cooldown", "host-state"]);
}

#[test]
fn nothing_holds_so_nothing_moves() {
    let view = Cluster::new().host(1, 10.0, 64, 50.0, 40.0).guest(1, 1, 1024, 0.8).view();
    let (plan, report) = relieve(&view, "cpu.usage_active > 60");
    assert!(plan.is_empty());
    assert!(report.summary.contains("holds on no host"), "{}", report.summary);
}
