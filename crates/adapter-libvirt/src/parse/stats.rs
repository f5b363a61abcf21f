//! Bulk statistics and job statistics.

use drover_model::{Bytes, GuestId, MigrationOutcome, MigrationProgress, Timestamp};
use drover_ports::GuestStats;

use crate::connection::{Param, Params};

/// Counters of one guest from virConnectGetAllDomainStats. While a job runs, whole groups
/// are missing; a group that is there begins with its count.
pub(crate) fn guest_stats(guest: GuestId, params: &Params) -> GuestStats {
    let known = |name: &str| params.get(name).map(|_| number(params, name));
    let sum = |group: &str, count: &str, suffix: &str| {
        known(count)?;
        let of_devices = params
            .iter()
            .filter(|(name, _)| name.starts_with(group) && name.ends_with(suffix))
            .map(|(name, _)| number(params, name));
        Some(of_devices.sum())
    };
    GuestStats {
        guest: Some(guest),
        cpu_time_ns: known("cpu.time"),
        vcpu_time_ns: sum("vcpu.", "vcpu.current", ".time"),
        vcpus: known("vcpu.current").map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        resident: known("balloon.rss").map(|kib| kib << 10),
        balloon: known("balloon.current").map(|kib| kib << 10),
        disk_read: sum("block.", "block.count", ".rd.bytes"),
        disk_written: sum("block.", "block.count", ".wr.bytes"),
        net_rx: sum("net.", "net.count", ".rx.bytes"),
        net_tx: sum("net.", "net.count", ".tx.bytes"),
    }
}

/// A running job's statistics (virDomainGetJobStats).
pub(crate) fn progress(params: &Params, at: Timestamp) -> MigrationProgress {
    let number = |name: &str| number(params, name);
    let page = number("memory_page_size").max(1);
    MigrationProgress {
        at,
        elapsed_ms: number("time_elapsed"),
        total: Bytes(number("data_total")),
        processed: Bytes(number("data_processed")),
        remaining: Bytes(number("data_remaining")),
        dirty_rate: Bytes(number("memory_dirty_rate") * page),
        throughput: Bytes(number("memory_bps")),
        iteration: u32::try_from(number("memory_iteration")).unwrap_or(u32::MAX),
        expected_downtime_ms: params.get("downtime").map(|_| number("downtime")),
    }
}

/// A completed migration's statistics, as the event of its end carries them.
pub(crate) fn outcome(params: Option<&Params>, total_ms: u64) -> MigrationOutcome {
    let Some(params) = params else {
        return MigrationOutcome { total_ms, ..MigrationOutcome::default() };
    };
    MigrationOutcome {
        total_ms,
        downtime_ms: params.get("downtime").map(|_| number(params, "downtime")),
        transferred: params.get("data_processed").map(|_| Bytes(number(params, "data_processed"))),
        iterations: params
            .get("memory_iteration")
            .map(|_| u32::try_from(number(params, "memory_iteration")).unwrap_or(u32::MAX)),
        blackout_ms: None,
    }
}

fn number(params: &Params, name: &str) -> u64 {
    match params.get(name) {
        Some(Param::Number(value)) => *value,
        Some(Param::Real(_) | Param::Text(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_devices() {
        let params: Params = [
            ("cpu.time", 9),
            ("vcpu.current", 2),
            ("vcpu.0.time", 3),
            ("vcpu.1.time", 4),
            ("balloon.rss", 2048),
            ("balloon.current", 1024),
            ("net.count", 2),
            ("block.count", 1),
            ("net.0.rx.bytes", 10),
            ("net.1.rx.bytes", 20),
            ("block.0.wr.bytes", 5),
        ]
        .map(|(name, value)| (name.to_owned(), Param::Number(value)))
        .into();
        let stats = guest_stats(GuestId::from_u128(1), &params);
        assert_eq!(stats.cpu_time_ns, Some(9));
        assert_eq!((stats.vcpu_time_ns, stats.vcpus), (Some(7), Some(2)));
        assert_eq!((stats.resident, stats.balloon), (Some(2 << 20), Some(1 << 20)));
        assert_eq!((stats.net_rx, stats.disk_written), (Some(30), Some(5)));
        let in_mid_migration: Params = [("cpu.time".to_owned(), Param::Number(9))].into();
        let stats = guest_stats(GuestId::from_u128(1), &in_mid_migration);
        assert_eq!((stats.cpu_time_ns, stats.vcpu_time_ns, stats.net_rx), (Some(9), None, None));
    }
}
