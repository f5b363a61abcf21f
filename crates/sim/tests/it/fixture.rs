//! Clusters, loads and rules that read like a table.

use std::time::Duration;

use drover_model::{Bytes, GuestId, HostId, Mib, RuleId, Timestamp};
use drover_rules::{Aggregate, Condition, Rule};
use drover_sim::{
    Cluster, DEFAULT_LINK, GuestSpec, HostSpec, Model, PowerCurve, Settings, Step, Trace,
};

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn host_id(n: usize) -> HostId {
    HostId::from_u128(n as u128)
}

pub fn guest_id(n: usize) -> GuestId {
    GuestId::from_u128(0x6000 + n as u128)
}

/// Host `hN`.
pub fn host(n: usize, cores: f64, gib: u64) -> HostSpec {
    HostSpec {
        id: host_id(n),
        name: format!("h{n}"),
        cores,
        memory: Bytes(gib << 30),
        overhead_cores: 0.0,
        power: PowerCurve::linear(100.0, 200.0).unwrap(),
        link: DEFAULT_LINK,
    }
}

/// Guest `vmN` on host `hM` with 4 vCPUs.
pub fn guest(n: usize, on: usize, mib: u64) -> GuestSpec {
    GuestSpec {
        id: guest_id(n),
        name: format!("vm{n}"),
        vcpus: 4,
        memory: Mib(mib),
        host: host_id(on),
    }
}

/// A rule that acts at once.
pub fn rule(condition: &str) -> Rule {
    let condition: Condition = condition.parse().unwrap();
    Rule {
        id: RuleId::from_u128(1),
        name: "hot".to_owned(),
        enabled: true,
        condition,
        clear: condition.default_clear(),
        period: secs(60),
        aggregate: Aggregate::Mean,
        evaluations: 1,
        source_hosts: vec![],
        target_hosts: vec![],
        guests: vec![],
        max_moves: 4,
        cooldown: secs(600),
        dry_run: false,
        wake: false,
        created: Timestamp::EPOCH,
    }
}

/// Guest `vmN` wants so many cores from so many seconds on.
pub fn trace(steps: &[(usize, &[(u64, f64)])]) -> Trace {
    let mut trace = Trace::new();
    for (guest, steps) in steps {
        for (at, cores) in *steps {
            let step = Step { at: secs(*at), cores: *cores, memory: None };
            trace.push(&format!("vm{guest}"), step).unwrap();
        }
    }
    trace
}

pub fn settings(hosts: Vec<HostSpec>, guests: Vec<GuestSpec>, trace: Trace) -> Settings {
    Settings {
        cluster: Cluster::new(hosts, guests).unwrap(),
        trace,
        rules: vec![],
        judges: vec![],
        replay: vec![],
        failures: vec![],
        model: Model::default(),
        start: Timestamp::EPOCH,
        duration: secs(3600),
        interval: secs(5),
        seed: 1,
    }
}

pub fn with_rule(settings: Settings, rule: Rule) -> Settings {
    Settings { rules: vec![rule.clone()], judges: vec![rule], ..settings }
}

/// h1 is overloaded by vm1, vm2 and vm3; h2 is idle.
pub fn overload() -> Settings {
    let hosts = vec![host(1, 8.0, 64), host(2, 8.0, 64)];
    let guests = vec![guest(1, 1, 2048), guest(2, 1, 4096), guest(3, 1, 1024)];
    settings(hosts, guests, trace(&[(1, &[(0, 3.0)]), (2, &[(0, 3.0)]), (3, &[(0, 1.0)])]))
}
