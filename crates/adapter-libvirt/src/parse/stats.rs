//! Bulk statistics and job statistics.

use drover_model::{Bytes, GuestId, MigrationOutcome, MigrationProgress, Timestamp};
use drover_ports::GuestStats;

use crate::connection::{Param, Params};

/// Counters of one guest from virConnectGetAllDomainStats.
pub(crate) fn guest_stats(guest: GuestId, params: &Params) -> GuestStats {
    let number = |name: &str| number(params, name);
    let sum = |prefix: &str, suffix: &str| {
        params
            .iter()
            .filter(|(name, _)| name.starts_with(prefix) && name.ends_with(suffix))
            .map(|(_, value)| match value {
                Param::Number(value) => *value,
                Param::Real(_) | Param::Text(_) => 0,
            })
            .sum()
    };
    GuestStats {
        guest: Some(guest),
        cpu_time_ns: number("cpu.time"),
        vcpu_time_ns: sum("vcpu.", ".time"),
        vcpus: u32::try_from(number("vcpu.current")).unwrap_or(u32::MAX),
        resident: number("balloon.rss") << 10,
        balloon: number("balloon.current") << 10,
        disk_read: sum("block.", ".rd.bytes"),
        disk_written: sum("block.", ".wr.bytes"),
        net_rx: sum("net.", ".rx.bytes"),
        net_tx: sum("net.", ".tx.bytes"),
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
        transferred: Bytes(number(params, "data_processed")),
        iterations: u32::try_from(number(params, "memory_iteration")).unwrap_or(u32::MAX),
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
            ("net.0.rx.bytes", 10),
            ("net.1.rx.bytes", 20),
            ("block.0.wr.bytes", 5),
        ]
        .map(|(name, value)| (name.to_owned(), Param::Number(value)))
        .into();
        let stats = guest_stats(GuestId::from_u128(1), &params);
        assert_eq!((stats.cpu_time_ns, stats.vcpu_time_ns, stats.vcpus), (9, 7, 2));
        assert_eq!((stats.resident, stats.balloon), (2 << 20, 1 << 20));
        assert_eq!((stats.net_rx, stats.disk_written), (30, 5));
    }
}
