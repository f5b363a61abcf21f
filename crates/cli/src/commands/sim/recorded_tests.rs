//! What is made of a made history.

use super::*;

const MINUTE: i64 = 60_000;

fn entity(kind: &str, number: u32, name: &str, metric: &str, at_ms: Vec<i64>) -> v1::EntityHistory {
    let mean = at_ms.iter().map(|_| 2.0).collect();
    v1::EntityHistory {
        kind: kind.to_owned(),
        id: id(number),
        name: name.to_owned(),
        series: vec![v1::HistorySeries { metric: metric.to_owned(), at_ms, mean }],
    }
}

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn host(number: u32, name: &str) -> v1::Host {
    v1::Host {
        id: id(number),
        name: name.to_owned(),
        state: "online".to_owned(),
        last_seen: String::new(),
        cores: 8.0,
        memory_bytes: 64 << 30,
        cpu_usage_percent: None,
        memory_available_bytes: None,
        sample_age_seconds: None,
        guests_active: None,
        guests: 1,
        agent_version: String::new(),
        labels: std::collections::BTreeMap::new(),
        maintenance: "active".to_owned(),
    }
}

fn guest(number: u32, name: &str, host: &str) -> v1::Guest {
    v1::Guest {
        id: id(number),
        name: name.to_owned(),
        state: "running".to_owned(),
        host: host.to_owned(),
        vcpus: 4,
        memory_mib: 2048,
        vcpu_percent: None,
        host_percent: None,
        resident_bytes: None,
        operation: None,
    }
}

/// h1, h2 and a silent h3; vm1 was moved from h1 to h2 and was off for an hour, vm2 has
/// no history. Samples every 30 s, the first ten minutes after the span's begin.
fn recorded() -> Recorded {
    let every_30_s = |from: i64, to: i64| (from * 2..to * 2).map(|half| half * MINUTE / 2);
    let all: Vec<i64> = every_30_s(10, 120).collect();
    let with_gap = every_30_s(10, 40).chain(every_30_s(100, 120)).collect();
    let entities = [
        entity("host", 1, "h1", "cpu.usage_active", all.clone()),
        entity("host", 2, "h2", "cpu.usage_active", all),
        entity("host", 3, "h3", "cpu.usage_active", vec![]),
        entity("guest", 11, "vm1", "guest.cpu_cores", with_gap),
    ];
    let moved = v1::RecordedMove {
        began_ms: 1_000_000 + 30 * MINUTE,
        ended_ms: 1_000_000 + 31 * MINUTE,
        guest: id(11),
        from: id(1),
        to: id(2),
        cause: "rule hot".to_owned(),
    };
    let export = Export {
        from_ms: 1_000_000,
        to_ms: 1_000_000 + 120 * MINUTE,
        resolution: "full".to_owned(),
        entities: entities.into_iter().map(|entity| (entity.id.clone(), entity)).collect(),
        moves: vec![moved],
    };
    let hosts = [host(1, "h1"), host(2, "h2"), host(3, "h3")];
    let guests = [guest(11, "vm1", "h2"), guest(12, "vm2", "h2")];
    put_together(&hosts, &guests, &export, PowerCurve::default()).unwrap()
}

#[test]
fn a_run_begins_with_the_first_sample_and_where_guests_were_then() {
    let read = recorded();
    assert_eq!(read.start, Timestamp::from_millis(1_000_000 + 10 * MINUTE));
    assert_eq!(read.duration, Duration::from_secs(110 * 60));
    assert_eq!(read.bucket, Duration::from_secs(30));
    let names: Vec<&str> = read.cluster.hosts().iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["h1", "h2"], "h3 has no history");
    let home = read.cluster.guest_named("vm1").unwrap().host;
    assert_eq!(home.to_string(), id(1), "before its move");
    assert_eq!(read.moves[0].at, Duration::from_secs(20 * 60));
    let told = read.assumptions.join("; ");
    assert!(told.contains("host(s) h3") && told.contains("1 guest(s)"), "{told}");
}

#[test]
fn a_guest_without_samples_wants_nothing() {
    let read = recorded();
    let wants = |minute: u64| {
        let at = Duration::from_secs(minute * 60);
        let steps = read.trace.steps("vm1");
        steps.iter().rev().find(|step| step.at <= at).map(|step| step.cores)
    };
    assert_eq!([wants(0), wants(29), wants(35), wants(95)], [2.0, 2.0, 0.0, 2.0].map(Some));
}

#[test]
fn a_span_without_history_says_so() {
    let export = Export::default();
    let problem = put_together(&[], &[], &export, PowerCurve::default()).unwrap_err();
    assert_eq!(problem.kind, drover_api::ProblemKind::NotFound);
    assert!(problem.hint.is_some());
}
