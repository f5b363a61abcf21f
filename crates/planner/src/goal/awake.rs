//! What a host that is off could take, were it awake.

use drover_model::{ClusterView, HostId, HostState, Metric, Reading};

/// The part of a host's memory that is free once it has started: its own system takes the
/// rest.
const FREE: f64 = 0.95;

/// The picture with this host awake and at rest: the question before it is woken.
pub fn as_if_awake(view: &ClusterView, host: HostId) -> ClusterView {
    let mut after = view.clone();
    let Some(seen) = after.hosts.get_mut(&host) else { return after };
    seen.host.state = HostState::Online;
    let known = |value| Reading::Known { value, samples: 0, newest: view.at };
    #[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
    let memory = seen.host.capabilities.memory.0 as f64;
    seen.readings.insert(Metric::CpuUsageActive, known(0.0));
    seen.readings.insert(Metric::MemAvailable, known(memory * FREE));
    for (metric, line) in &seen.lines {
        seen.readings.insert(*metric, known(line.idle));
    }
    after
}

#[cfg(test)]
mod tests {
    use drover_testkit::{Cluster, host_id};

    use super::*;

    #[test]
    fn a_host_that_is_off_counts_as_at_rest() {
        let view = Cluster::new()
            .host(1, 8.0, 100, 90.0, 1.0)
            .power(1, 300.0, 80.0, 320.0)
            .with(|view| {
                let host = view.hosts.get_mut(&host_id(1)).unwrap();
                (host.host.state, host.readings) = (HostState::Unreachable, Default::default());
            })
            .view();
        let awake = as_if_awake(&view, host_id(1));
        assert_eq!(awake.hosts[&host_id(1)].host.state, HostState::Online);
        assert_eq!(awake.host_value(host_id(1), Metric::PowerWatts), Some(80.0));
        assert_eq!(awake.host_value(host_id(1), Metric::CpuUsageActive), Some(0.0));
        assert_eq!(as_if_awake(&view, host_id(2)), view);
    }
}
