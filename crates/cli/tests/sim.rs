//! `drover sim`: traces from files, and the history of a droverd with two hosts in memory.

#![allow(clippy::unwrap_used, unreachable_pub, dead_code, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Printed, Stage};

const CLUSTER: &str = r#"
[[host]]
name = "h"
count = 2
cores = 8
memory = "64GiB"
power = "100..200"
[default_guest]
vcpus = 4
memory = "2GiB"
"#;

const RULE: &str =
    "name: hot\nspec:\n  condition: cpu.usage_active > 60\n  period: 1m\n  max_moves: 2\n";

/// vm1 and vm3 make h1 hot; vm2 on h2 is idle.
const TRACE: &str = "time_s,guest,cpu_cores\n0,vm1,3\n0,vm2,0.1\n0,vm3,3\n1800,vm1,3\n";

/// A folder with these files; nothing of a controller is configured.
fn run(dir: &Path, words: &[&str]) -> Printed {
    let output = Command::new(env!("CARGO_BIN_EXE_drover"))
        .args(words)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .output()
        .unwrap();
    Printed {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("c.toml", CLUSTER), ("hot.yaml", RULE), ("t.csv", TRACE)] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::fs::create_dir(dir.path().join("day")).unwrap();
    for name in ["vm_a", "vm_b", "vm_c"] {
        std::fs::write(dir.path().join("day").join(name), "90\n80\n10\n").unwrap();
    }
    dir
}

const RUN: [&str; 8] =
    ["sim", "run", "--trace", "t.csv", "--cluster", "c.toml", "--rule", "hot.yaml"];

#[test]
fn a_trace_is_run_with_and_without_the_rule() {
    let dir = folder();
    let shown = run(dir.path(), &[&RUN[..], &["--html", "p.html"]].concat());
    assert_eq!(shown.code, 0, "{}", shown.err);
    for part in ["NOBODY MOVES", "RULE HOT", "overload", "kWh", "takes for granted", "h2"] {
        assert!(shown.out.contains(part), "{part}? {}", shown.out);
    }
    let page = std::fs::read_to_string(dir.path().join("p.html")).unwrap();
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
    let json = |words: &[&str]| -> Value {
        let printed = run(dir.path(), &[&RUN[..], words, &["-o", "json"]].concat());
        assert_eq!(printed.code, 0, "{}", printed.err);
        serde_json::from_str(&printed.out).unwrap()
    };
    let both = json(&[]);
    let minutes = |run: &str| both[run]["figures"]["overload_host_minutes"].as_f64().unwrap();
    assert!(minutes("before") > 50.0 && minutes("after") < 5.0, "{both}");
    assert_eq!(both["after"]["figures"]["moves"], 1);
    assert_eq!(both["after"]["violations"], Value::Array(vec![]));
    assert_eq!(both, json(&[]), "the same seed, the same answer");
    let noisy = json(&["--noise", "0.1", "--fail", "h2@10m", "--repair", "5m"]);
    assert_eq!(noisy["after"]["figures"]["host_failures"], 1);
    let yaml = run(dir.path(), &[&RUN[..], &["-o", "yaml"]].concat());
    assert!(yaml.out.starts_with("before_is: nobody moves"), "{}", yaml.out);
}

#[test]
fn a_planetlab_folder_needs_no_cluster_and_no_rule() {
    let dir = folder();
    let shown = run(dir.path(), &["sim", "run", "--trace", "day", "-o", "json"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let report: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!((&report["guests"], &report["hosts"]), (&3.into(), &2.into()));
    assert_eq!(report["duration_s"], 900.0);
    let shown = run(dir.path(), &["sim", "run", "--trace", "day"]).out;
    assert!(shown.contains("energy") && !shown.contains("overload"), "{shown}");
}

#[test]
fn bad_input_is_refused_with_its_place_and_a_hint() {
    let dir = folder();
    for (name, text) in [
        ("bad.csv", "time_s,guest,cpu_cores\n0,vm1,much\n"),
        ("bad.toml", "[[host]]\nname = 5\n"),
        ("bad.yaml", "name: hot\nspec: {condition: cpu.heat > 60}\n"),
        ("who.yaml", "name: w\nspec: {condition: cpu.usage_active > 60, source_hosts: [h9]}\n"),
        ("typo.yaml", "name: w\nspec: {condition: cpu.usage_active > 60, perod: 1m}\n"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let with = |words: &[&str]| {
        let all = [&["sim", "run", "--cluster", "c.toml"], words].concat();
        run(dir.path(), &all)
    };
    for (words, part) in [
        (&["--trace", "bad.csv"][..], "bad.csv, line 2: cpu_cores is `much`"),
        (&["--trace", "nowhere"], "nowhere"),
        (&["--trace", "t.csv", "--rule", "bad.yaml"], "bad.yaml: `cpu.heat`"),
        (&["--trace", "t.csv", "--rule", "who.yaml"], "h9"),
        (&["--trace", "t.csv", "--rule", "typo.yaml"], "perod"),
        (&["--trace", "t.csv", "--rule", "hot.yaml", "--rule", "hot.yaml"], "already"),
        (&["--trace", "t.csv", "--fail", "h9@5s"], "no host `h9`"),
        (&["--trace", "t.csv", "--fail", "h1"], "no failure"),
        (&["--trace", "t.csv", "--interval", "2h"], "interval"),
        (&["--trace", "t.csv", "--noise", "9"], "noise"),
        (&["--trace", "t.csv", "--html", "no/such/p.html"], "no/such/p.html"),
    ] {
        let printed = with(words);
        assert_eq!(printed.code, 2, "{words:?}: {}{}", printed.out, printed.err);
        assert!(printed.err.contains(part), "{words:?}: {part}? {}", printed.err);
        assert!(printed.err.contains("hint: "), "{words:?}: {}", printed.err);
        assert!(printed.out.is_empty(), "{}", printed.out);
    }
    let cluster = run(dir.path(), &["sim", "run", "--trace", "t.csv", "--cluster", "bad.toml"]);
    assert!(cluster.err.contains("bad.toml, line 2"), "{}", cluster.err);
    let usage = run(dir.path(), &["sim", "run"]);
    assert_eq!(usage.code, 2, "{}", usage.err);
}

#[test]
fn a_changed_rule_is_tested_on_what_droverd_recorded() {
    let stage = Stage::up();
    assert_eq!(stage.drover(&["rule", "create", "hot", "cpu.usage_active > 99"]).code, 0);
    let rule = stage.dir().join("hot.yaml");
    std::fs::write(&rule, stage.drover(&["rule", "show", "hot", "-o", "yaml"]).out).unwrap();
    let moved = stage.drover(&["guest", "migrate", "vm1", "--to", "h2"]);
    assert_eq!(moved.code, 0, "{}", moved.err);
    let page = stage.dir().join("p.html");
    let (rule, page) = (rule.to_str().unwrap(), page.to_str().unwrap());
    let words = ["sim", "backtest", "--rule", rule, "--since", "1h", "--interval", "1s"];
    stage.until("some seconds are recorded", |stage| {
        let answer = stage.json(&words);
        answer["before"]["figures"]["moves"] == 1
            && answer["before"]["duration_s"].as_f64() >= Some(3.0)
    });
    let both = stage.json(&[&words[..], &["--html", page]].concat());
    assert_eq!(
        (&both["before_is"], &both["after_is"]),
        (&"as recorded".into(), &"rule hot".into())
    );
    assert_eq!(both["before"]["moves"][0]["guest"], "vm1", "{both}");
    assert_eq!(both["before"]["moves"][0]["cause"], "request of admin", "{both}");
    assert_eq!(both["after"]["figures"]["moves"], 0, "the rule does not fire");
    assert!(both["assumptions"].as_array().unwrap().len() >= 4);
    assert!(both["after"]["figures"]["energy_kwh"].as_f64().unwrap() > 0.0);
    assert!(std::fs::read_to_string(page).unwrap().contains("as recorded"));
    let shown = stage.drover(&words).out;
    assert!(shown.contains("AS RECORDED") && shown.contains("RULE HOT"), "{shown}");
    let no_rule = stage.drover(&["sim", "backtest"]);
    assert_eq!((no_rule.code, no_rule.err.contains("hint: ")), (2, true), "{}", no_rule.err);
    let far = stage.drover(&["sim", "backtest", "--rule", rule, "--since", "400d"]);
    assert!(far.code == 2 && far.err.contains("366 days"), "{}", far.err);
    let alone = stage.run(&["sim", "backtest", "--rule", rule], &[]);
    assert!(alone.code == 2 && alone.err.contains("DROVER_URL"), "{}", alone.err);
}
