use super::*;
use drover_model::Bytes;

fn at(seconds: u64) -> Snapshot {
    let steady = Duration::from_secs(seconds);
    Snapshot { steady, guests_steady: steady, ..Snapshot::default() }
}

fn value(values: &Values, metric: Metric) -> Option<f64> {
    values.iter().find(|(name, _)| *name == metric).map(|(_, value)| *value)
}

fn machine(seconds: u64, active: u64, inactive: u64) -> Snapshot {
    Snapshot { cpu: Some(CpuUse::Machine(CpuTicks { active, inactive })), ..at(seconds) }
}

#[test]
fn machine_load_is_the_active_share_of_all_cores() {
    for (before, now, percent) in [
        ((100, 100), (150, 150), Some(50.0)),
        ((100, 100), (200, 100), Some(100.0)),
        ((100, 100), (100, 300), Some(0.0)),
        // iowait lost a tick.
        ((100, 100), (101, 99), Some(100.0)),
        ((100, 100), (100, 100), None),
        ((100, 100), (50, 200), None),
    ] {
        let values = host(&machine(0, before.0, before.1), &machine(5, now.0, now.1));
        assert_eq!(value(&values, Metric::CpuUsageActive), percent, "{before:?} {now:?}");
    }
}

/// (pid, started, ticks, bytes read)
fn processes(seconds: u64, list: &[(u32, u64, u64, u64)]) -> Snapshot {
    let processes = list
        .iter()
        .map(|&(pid, started, cpu_ticks, input)| {
            let io = Some(InOut { input, output: 0 });
            (ProcessKey { pid, started }, ProcessUse { cpu_ticks, io })
        })
        .collect();
    let table =
        ProcessTable { processes, read_at: seconds * 100, ticks_per_second: 100, cores: 0.5 };
    Snapshot { cpu: Some(CpuUse::Processes(table)), ..at(seconds) }
}

#[test]
fn process_load_is_never_negative_and_counts_no_foreign_past() {
    let before = &[(1, 10, 1000, 5), (2, 20, 500, 7)];
    for (name, now, percent) in [
        ("both worked", vec![(1, 10, 1100, 5), (2, 20, 550, 7)], 30.0),
        ("one ended", vec![(1, 10, 1100, 5)], 20.0),
        ("all ended", vec![], 0.0),
        ("the id is used again", vec![(1, 10, 1000, 5), (2, 1500, 50, 7)], 10.0),
        ("one was born", vec![(1, 10, 1000, 5), (2, 20, 500, 7), (3, 1200, 25, 0)], 5.0),
        ("one came from elsewhere", vec![(1, 10, 1000, 5), (9, 30, 99_999, 0)], 0.0),
        ("a burst ends at the budget", vec![(1, 10, 9000, 5)], 100.0),
    ] {
        let values = host(&processes(10, before), &processes(20, &now));
        assert_eq!(value(&values, Metric::CpuUsageActive), Some(percent), "{name}");
    }
    let values = host(&processes(10, before), &processes(20, &[(1, 10, 1000, 105)]));
    assert_eq!(value(&values, Metric::DiskReadRate), Some(10.0));
}

#[test]
fn group_load_is_a_share_of_the_budget() {
    let group = |seconds, used_ns| Snapshot {
        cpu: Some(CpuUse::Group { used_ns, cores: 2.0 }),
        ..at(seconds)
    };
    let values = host(&group(0, 0), &group(10, 5_000_000_000));
    assert_eq!(value(&values, Metric::CpuUsageActive), Some(25.0));
    let values = host(&group(0, 10), &group(10, 5));
    assert_eq!(value(&values, Metric::CpuUsageActive), None);
}

#[test]
fn traffic_of_devices_that_came_or_restarted_is_left_out() {
    let with = |seconds, list: &[(&str, u64)]| Snapshot {
        network: list
            .iter()
            .map(|&(name, bytes)| (name.to_owned(), InOut { input: bytes, output: 0 }))
            .collect(),
        ..at(seconds)
    };
    let before = with(0, &[("a", 100), ("b", 100)]);
    for (now, rate) in [
        (with(10, &[("a", 200), ("b", 300)]), Some(30.0)),
        (with(10, &[("a", 200), ("c", 999_999)]), Some(10.0)),
        (with(10, &[("a", 200), ("b", 50)]), Some(10.0)),
        (with(10, &[("a", 0)]), None),
        (with(10, &[]), None),
    ] {
        assert_eq!(value(&host(&before, &now), Metric::NetRxRate), rate, "{:?}", now.network);
    }
}

#[test]
fn levels_need_no_snapshot_before() {
    let now = Snapshot { available: Some(Bytes(7)), swap_used: Some(Bytes(3)), ..at(0) };
    let values = host(&now, &now);
    assert_eq!(value(&values, Metric::MemAvailable), Some(7.0));
    assert_eq!(value(&values, Metric::SwapUsed), Some(3.0));
    assert_eq!(value(&values, Metric::PsiCpuSome), None);
}

#[test]
fn a_guest_that_began_anew_has_levels_but_no_rates_for_one_interval() {
    let id = GuestId::from_u128(7);
    let stats = |cpu_time_ns, vcpu_time_ns| GuestStats {
        guest: Some(id),
        cpu_time_ns: Some(cpu_time_ns),
        vcpu_time_ns: Some(vcpu_time_ns),
        vcpus: Some(2),
        resident: Some(64),
        ..GuestStats::default()
    };
    let with = |seconds, stats| Snapshot { guests: vec![stats], ..at(seconds) };
    let second = 1_000_000_000;
    let steady = guests(&with(0, stats(0, 0)), &with(10, stats(15 * second, 10 * second)));
    assert_eq!(value(&steady[0].1, Metric::GuestCpuCores), Some(1.5));
    assert_eq!(value(&steady[0].1, Metric::GuestVcpuPercent), Some(50.0));
    for before in [with(0, stats(second, 2 * second)), at(0)] {
        let anew = guests(&before, &with(10, stats(2 * second, second)));
        assert_eq!(value(&anew[0].1, Metric::GuestCpuCores), None);
        assert_eq!(value(&anew[0].1, Metric::GuestResident), Some(64.0));
    }
}

#[test]
fn what_libvirt_does_not_tell_in_mid_migration_is_missing_and_not_zero() {
    let id = GuestId::from_u128(7);
    let whole = |disk_read| GuestStats {
        guest: Some(id),
        cpu_time_ns: Some(5),
        disk_read: Some(disk_read),
        resident: Some(64),
        ..GuestStats::default()
    };
    let part = GuestStats { guest: Some(id), cpu_time_ns: Some(9), ..GuestStats::default() };
    let with = |seconds, stats| Snapshot { guests: vec![stats], ..at(seconds) };
    let in_mid = guests(&with(0, whole(1000)), &with(5, part.clone()));
    assert_eq!(value(&in_mid[0].1, Metric::GuestResident), None);
    assert_eq!(value(&in_mid[0].1, Metric::DiskReadRate), None);
    assert!(value(&in_mid[0].1, Metric::GuestCpuCores).is_some());
    let after = guests(&with(5, part), &with(10, whole(2000)));
    assert_eq!(value(&after[0].1, Metric::DiskReadRate), None, "a rate needs both ends");
}

#[test]
fn power_is_told_and_shared_by_cpu_time() {
    use super::super::power::{Draw, PowerSnapshot};
    use drover_model::PowerSource;

    let id = GuestId::from_u128(7);
    let second = 1_000_000_000;
    let with = |seconds, active, inactive, cpu_time_ns, energy_uj| {
        let counter = super::super::power::Counter { energy_uj, range_uj: 0 };
        let counters = [("package-0".to_owned(), counter)];
        let power = PowerSnapshot {
            steady: Duration::from_secs(seconds),
            used: Some((PowerSource::Rapl, Draw::Energy(counters.clone().into()))),
            packages: counters.into(),
        };
        let stats =
            GuestStats { guest: Some(id), cpu_time_ns: Some(cpu_time_ns), ..GuestStats::default() };
        let guests = vec![stats];
        Snapshot { ticks_per_second: 100, power, guests, ..machine(seconds, active, inactive) }
    };
    // Two cores of four are busy for 10 s, one of them for the guest, and 1000 J are used.
    let before = with(0, 0, 0, 0, 0);
    let now = with(10, 2000, 2000, 10 * second, 1_000_000_000);
    let values = host(&before, &now);
    assert_eq!(value(&values, Metric::CpuUsageActive), Some(50.0));
    assert_eq!(value(&values, Metric::PowerWatts), Some(100.0));
    assert_eq!(value(&values, Metric::PowerPackageWatts), Some(100.0));
    let guests = guests(&before, &now);
    assert_eq!(value(&guests[0].1, Metric::GuestPowerWatts), Some(25.0));
    // Without power there is nothing to share.
    let unmeasured = Snapshot { power: PowerSnapshot::default(), ..now };
    assert_eq!(value(&host(&before, &unmeasured), Metric::PowerWatts), None);
    let guests = super::guests(&before, &unmeasured);
    assert_eq!(value(&guests[0].1, Metric::GuestPowerWatts), None);
}
