//! `drover` against a droverd with two hosts in memory: what it prints and how it ends.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::{Printed, Stage};

/// An error has a kind and a hint on standard error, and nothing on standard output.
fn refused(printed: &Printed, code: i32, kind: &str, word: &str) {
    let shown = format!("{}{}", printed.out, printed.err);
    assert_eq!(printed.code, code, "{shown}");
    assert!(printed.out.is_empty(), "{shown}");
    assert!(printed.err.contains(&format!("kind: {kind}")), "{shown}");
    assert!(printed.err.contains("hint: "), "{shown}");
    assert!(printed.err.contains(word), "{word}? {shown}");
}

#[test]
fn lists_are_tables_json_and_yaml() {
    let stage = Stage::up();
    let table = stage.drover(&["host", "list"]).out;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("HOST"), "{table}");
    assert!(lines[1].starts_with("h1") && lines[1].contains("online"), "{table}");
    assert!(!table.contains('\u{1b}'), "colours are for terminals: {table:?}");
    let json = stage.json(&["guest", "list"]);
    let names: Vec<&str> =
        json.as_array().unwrap().iter().map(|guest| guest["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["vm1", "vm2"]);
    let yaml = stage.drover(&["guest", "list", "-o", "yaml"]).out;
    assert!(yaml.starts_with("- id:") && yaml.contains("name: vm2"), "{yaml}");
    let shown = stage.drover(&["guest", "show", "vm1"]).out;
    assert!(shown.contains("h1") && shown.contains("running"), "{shown}");
    let top = stage.drover(&["top", "--once"]);
    assert_eq!(top.code, 0, "{}", top.err);
    assert!(top.out.contains("h1") && top.out.contains("vm1"), "{}", top.out);
    let both = stage.json(&["top", "--once"]);
    assert!(both["hosts"].is_array() && both["guests"].is_array(), "{both}");
    let alone = stage.run(&["version"], &[]);
    assert!(alone.code == 2 && alone.out.starts_with("drover "), "{}", alone.out);
    stage.a_reader_may_stop_reading(&["event", "list", "-o", "json"]);
    let script = stage.run(&["completion", "bash"], &[]);
    assert!(script.code == 0 && script.out.contains("complete"), "{}", script.out);
}

#[test]
fn a_move_is_planned_made_and_told() {
    let stage = Stage::up();
    let planned = stage.json(&["guest", "migrate", "vm1", "--to", "h2", "--dry-run"]);
    assert!(planned["plan"].is_object() && planned["operation"].is_null(), "{planned}");
    let expected = &planned["forecast"];
    assert_eq!(expected["verdict"], "converges", "{planned}");
    assert!(expected["total"]["expected_ms"].as_u64() > Some(0), "{expected}");
    assert_eq!(stage.homes("vm1"), ["h1"], "a dry run moves nothing");
    let moved = stage.drover(&["guest", "migrate", "vm1", "--to", "h2"]);
    assert_eq!(moved.code, 0, "{}{}", moved.out, moved.err);
    assert_eq!(stage.homes("vm1"), ["h2"]);
    let shown = stage.json(&["guest", "show", "vm1"]);
    assert_eq!((&shown["host"], &shown["state"]), (&"h2".into(), &"running".into()), "{shown}");
    let operations = stage.json(&["operation", "list"]);
    let operation = &operations[0];
    assert_eq!(operation["finished"], true, "{operation}");
    let off = &operation["forecast_error"]["total_percent"];
    assert!(off.is_number(), "{operation}");
    let past = stage.json(&["guest", "history", "vm1"]);
    let of_it = (&past[0]["from"], &past[0]["state"]);
    assert_eq!(of_it, (&"h1".into(), &"completed".into()), "{past}");
    let id = operation["id"].as_str().unwrap();
    let watched = stage.drover(&["operation", "watch", id]);
    assert_eq!(watched.code, 0, "a finished one is watched to its end: {}", watched.err);
    let events = stage.json(&["event", "list"]);
    let told = |kind: &str| {
        events.as_array().unwrap().iter().any(|event| {
            event["kind"] == kind && event["operation"].as_str().is_none_or(|of| of == id)
        })
    };
    assert!(told("migration.completed"), "{events}");
    let back = stage.drover(&["guest", "migrate", "vm1", "--to", "h1", "--no-wait"]);
    assert_eq!(back.code, 0, "{}", back.err);
    stage.until("vm1 is back", |stage| {
        stage.homes("vm1") == ["h1"] && stage.json(&["guest", "show", "vm1"])["host"] == "h1"
    });
    stage.until("the operation is over", |stage| {
        stage
            .json(&["operation", "list"])
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["finished"] == Value::Bool(true))
    });
}

#[test]
fn a_guests_policy_holds_its_moves() {
    let stage = Stage::up();
    let set = stage.json(&["guest", "set", "vm1", "--max-downtime", "500ms", "--post-copy", "off"]);
    assert_eq!((&set["max_downtime_ms"], &set["post_copy"]), (&500.into(), &false.into()), "{set}");
    let kept = stage.json(&["guest", "set", "vm1", "--priority", "3"]);
    assert_eq!((&kept["max_downtime_ms"], &kept["priority"]), (&500.into(), &3.into()), "{kept}");
    for too_much in [["--max-downtime", "501ms"], ["--post-copy", "allow"]] {
        let refused = ["guest", "migrate", "vm1", "--to", "h2", too_much[0], too_much[1]];
        self::refused(&stage.drover(&refused), 6, "refused", "the guest");
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let stage = Stage::up();
    refused(&stage.drover(&["guest", "show", "nobody"]), 4, "not found", "nobody");
    refused(&stage.drover(&["guest", "migrate", "vm1", "--to", "h9"]), 4, "not found", "h9");
    refused(&stage.drover(&["guest", "migrate", "vm1", "--to", "h1"]), 6, "refused", "h1");
    refused(&stage.drover(&["operation", "show", "nothing"]), 4, "not found", "nothing");
    for filter in ["--host", "--guest", "--rule"] {
        refused(&stage.drover(&["event", "list", filter, "nobody"]), 4, "not found", "nobody");
    }
    for who in [["vm1", "vm2"], ["--from", "h1"]] {
        let cold = [&["guest", "migrate"], &who[..], &["--mode", "cold"]].concat();
        refused(&stage.drover(&cold), 2, "bad request", "moved live");
    }
    let usage = stage.drover(&["guest", "move"]);
    assert_eq!(usage.code, 2, "{}", usage.err);
    assert!(usage.err.contains("Usage"), "{}", usage.err);
}

#[test]
fn rules_are_made_changed_and_deleted() {
    let stage = Stage::up();
    for wrong in ["cpu > 60", "cpu.usage_active >", "cpu.usage_active > 400", "mem.available < 4X"]
    {
        refused(&stage.drover(&["rule", "create", "r", wrong]), 2, "bad request", "");
    }
    for (name, expression) in [
        ("a", "cpu.usage_active > 99"),
        ("b", "cpu.usage_active.gt 99"),
        ("c", "mem.available < 1MiB"),
    ] {
        let made = stage.drover(&["rule", "create", name, expression, "--period", "10s"]);
        assert_eq!(made.code, 0, "{expression}: {}", made.err);
    }
    let [a, b] = ["a", "b"].map(|name| stage.json(&["rule", "show", name]));
    assert_eq!(a["spec"]["condition"], b["spec"]["condition"], "two ways to write one condition");
    refused(&stage.drover(&["rule", "create", "a", "cpu.usage_active > 50"]), 5, "conflict", "a");
    let updated = stage.drover(&["rule", "update", "a", "--max-moves", "3"]);
    assert_eq!(updated.code, 0, "{}", updated.err);
    assert_eq!(stage.json(&["rule", "show", "a"])["spec"]["max_moves"], 3);
    let limited = ["rule", "update", "a", "--source-host", "h1", "--clear", "70"];
    assert_eq!(stage.drover(&limited).code, 0);
    assert_eq!(stage.json(&["rule", "show", "a"])["spec"]["clear"], "70");
    let back = ["rule", "update", "a", "--source-host", "all", "--clear", "default"];
    assert_eq!(stage.drover(&back).code, 0);
    let spec = stage.json(&["rule", "show", "a"])["spec"].clone();
    assert_eq!((&spec["clear"], &spec["source_hosts"]), (&"89.1".into(), &Value::Array(vec![])));
    assert_eq!(stage.drover(&["rule", "disable", "a"]).code, 0);
    assert_eq!(stage.json(&["rule", "show", "a"])["enabled"], false);
    assert_eq!(stage.drover(&["rule", "enable", "a"]).code, 0);
    let tested = stage.drover(&["rule", "test", "c"]);
    assert_eq!(tested.code, 0, "{}", tested.err);
    for name in ["a", "b", "c"] {
        assert_eq!(stage.drover(&["rule", "delete", name]).code, 0);
    }
    refused(&stage.drover(&["rule", "delete", "a"]), 4, "not found", "a");
    assert_eq!(stage.json(&["rule", "list"]), Value::Array(Vec::new()));
}

#[test]
fn who_may_not_is_told() {
    let stage = Stage::up();
    let made = stage.json(&["token", "create", "eyes", "--role", "viewer"]);
    let token = made["secret"].as_str().unwrap();
    let config = stage.admin();
    let viewer = [("DROVER_CONFIG", config.to_str().unwrap()), ("DROVER_TOKEN", token)];
    assert_eq!(stage.run(&["guest", "list"], &viewer).code, 0);
    refused(&stage.run(&["guest", "migrate", "vm1"], &viewer), 3, "forbidden", "operator");
    refused(&stage.drover(&["token", "create", "eyes"]), 5, "conflict", "eyes");
    let revoked = stage.drover(&["token", "revoke", "eyes"]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    refused(&stage.run(&["guest", "list"], &viewer), 3, "not authenticated", "revoked");
    let nobody = [("DROVER_CONFIG", config.to_str().unwrap()), ("DROVER_TOKEN", "drt1_x_y")];
    refused(&stage.run(&["guest", "list"], &nobody), 3, "not authenticated", "token");
    refused(&stage.run(&["guest", "list"], &[]), 2, "bad request", "DROVER_URL");
    let away = [("DROVER_URL", "https://127.0.0.1:1"), ("DROVER_TOKEN", token)];
    refused(&stage.run(&["guest", "list"], &away), 7, "unavailable", "127.0.0.1:1");
    let other_ca = stage.dir().join("other.pem");
    let pem = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem();
    std::fs::write(&other_ca, pem).unwrap();
    let untrusting = [viewer[0], ("DROVER_CA", other_ca.to_str().unwrap())];
    refused(&stage.run(&["guest", "list"], &untrusting), 2, "bad request", "not trusted");
    let broken = stage.dir().join("broken.toml");
    std::fs::write(&broken, "url = [").unwrap();
    let broken = [("DROVER_CONFIG", broken.to_str().unwrap())];
    refused(&stage.run(&["guest", "list"], &broken), 2, "bad request", "broken.toml");
}

#[test]
fn errors_are_json_for_scripts() {
    let stage = Stage::up();
    let printed = stage.drover(&["guest", "show", "nobody", "-o", "json"]);
    assert_eq!(printed.code, 4);
    let problem: Value = serde_json::from_str(&printed.err).unwrap();
    assert_eq!(problem["status"], 404, "{problem}");
    assert!(problem["hint"].is_string(), "{problem}");
}

#[test]
fn a_host_that_will_not_come_back_is_removed() {
    let stage = Stage::up();
    refused(&stage.drover(&["host", "remove", "h1"]), 5, "conflict", "connected");
    stage.stop_agent(1);
    refused(&stage.drover(&["host", "remove", "h1"]), 5, "conflict", "2 guest(s)");
    let removed = stage.drover(&["host", "remove", "h1", "--forget-guests"]);
    assert_eq!(removed.code, 0, "{}", removed.err);
    let names = |what: &str| stage.json(&[what, "list"]).as_array().map(Vec::len);
    assert_eq!((names("host"), names("guest")), (Some(1), Some(0)));
    refused(&stage.drover(&["host", "show", "h1"]), 4, "not found", "h1");
    refused(&stage.drover(&["guest", "show", "vm1"]), 4, "not found", "vm1");
}
