//! A host of forty guests is emptied by one command, as a user does it.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "every test program uses another part of it")]
mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::Stage;

/// What each operation of the list held while it was under way: `(from, to)`, begun, ended.
fn spans(stage: &Stage) -> Vec<(String, String, String, String)> {
    let all = stage.json(&["operation", "list"]);
    let entered = |one: &Value, states: &[&str]| {
        let steps = one["timeline"].as_array().unwrap();
        let step = steps.iter().find(|step| states.contains(&step["state"].as_str().unwrap()));
        step.map(|step| step["at"].as_str().unwrap().to_owned())
    };
    let word = |one: &Value, what: &str| one[what].as_str().unwrap().to_owned();
    let begun = all.as_array().unwrap().iter().filter_map(|one| {
        let begun = entered(one, &["offering"])?;
        let ended = entered(one, &["completed", "failed", "cancelled"])?;
        Some((word(one, "from"), word(one, "to"), begun, ended))
    });
    begun.collect()
}

/// The most that were under way at any moment, by host and direction, and in all.
fn most(spans: &[(String, String, String, String)]) -> (BTreeMap<String, usize>, usize) {
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    let mut in_all = 0;
    for (_, _, at, _) in spans {
        // One that ends in the same millisecond has made room.
        let now = spans.iter().filter(|(_, _, begun, ended)| begun <= at && ended > at);
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        let mut all = 0;
        for (from, to, ..) in now {
            *count.entry(format!("out of {from}")).or_default() += 1;
            *count.entry(format!("into {to}")).or_default() += 1;
            all += 1;
        }
        in_all = in_all.max(all);
        for (key, count) in count {
            let known = most.entry(key).or_default();
            *known = (*known).max(count);
        }
    }
    (most, in_all)
}

#[test]
fn forty_guests_leave_by_one_command() {
    let stage = Stage::with(5, 40);
    let dry = stage.json(&["host", "drain", "h1", "--dry-run"]);
    assert_eq!(dry["certificate"]["feasible"], true, "{dry}");
    assert_eq!(dry["certificate"]["moves"], 40, "{dry}");
    assert_eq!(stage.json(&["operation", "list"]).as_array().unwrap().len(), 0);
    let printed = stage.drover(&["host", "drain", "h1"]);
    assert_eq!(printed.code, 0, "{}{}", printed.out, printed.err);
    assert!(printed.out.contains("40 guest(s) have left, 0 to go"), "{}", printed.out);
    assert!(printed.out.contains("over in about"), "{}", printed.out);
    for number in 1..=40 {
        let homes = stage.homes(&format!("vm{number}"));
        assert!(homes.len() == 1 && homes[0] != "h1", "vm{number} is on {homes:?}");
    }
    let spans = spans(&stage);
    assert_eq!(spans.len(), 40);
    let (most, all) = most(&spans);
    assert!(most.values().all(|count| *count <= 2) && all <= 2, "{most:?} {all}");
    let hosts = stage.drover(&["host", "list"]);
    assert!(hosts.out.contains("online, drained"), "{}", hosts.out);
    let there = stage.drover(&["guest", "migrate", "vm1", "--to", "h1"]);
    assert!(there.code == 6 && there.err.contains("h1 is being emptied"), "{}", there.err);
    several_come_back(&stage);
}

/// Undrained, the host takes guests again; several are moved by one plan.
fn several_come_back(stage: &Stage) {
    assert_eq!(stage.drover(&["host", "undrain", "h1"]).code, 0);
    let limits = stage.drover(&["limit", "set", "--in-per-host", "3", "--out-per-host", "3"]);
    assert!(limits.code == 0 && limits.out.contains("out of a host"), "{}", limits.err);
    let words = ["guest", "migrate", "vm1", "vm2", "vm3", "vm4", "vm5", "--to", "h1"];
    // A guest is placed by what it was seen to use where it is now; what is refused has begun
    // nothing, and on a busy machine samples may be missing for a moment at any time.
    stage.until("the guests are measured on their new hosts", |stage| {
        stage.drover(&words).code == 0
    });
    for number in 1..=5 {
        assert_eq!(stage.homes(&format!("vm{number}")), ["h1"]);
    }
    let again = stage.drover(&words);
    assert_eq!(again.code, 6, "{}", again.err);
    assert!(again.err.contains("5 of 5") && again.err.contains("there already"), "{}", again.err);
    stage.until("a dry run", |stage| {
        let away = stage.drover(&["guest", "migrate", "--from", "h1", "--dry-run"]);
        away.code == 0 && away.out.contains("vm5 h1 →")
    });
    stage.until("the way back", |stage| {
        stage.drover(&["guest", "migrate", "--from", "h1", "--to", "h2"]).code == 0
    });
    assert_eq!(stage.homes("vm5"), ["h2"]);
}
