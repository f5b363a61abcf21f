//! Rules, curves, caps and the report in watts, as a user types them.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test program uses its part of the support")]

mod support;

use support::Stage;

#[test]
fn watts_from_rule_to_report() {
    let stage = Stage::up();
    let rule = ["rule", "create", "hot", "power.watts > 250", "--period", "1m"];
    let made = stage.json(&[&rule[..], &["--source-host", "h1", "--wake"]].concat());
    assert_eq!((&made["spec"]["wake"], &made["clear_value"]), (&true.into(), &225.0.into()));
    let changed = stage.json(&["rule", "update", "hot", "--no-wake"]);
    assert_eq!(changed["spec"]["wake"], false);
    let wrong = stage.drover(&["rule", "create", "cold", "power.watts < 250"]);
    assert!(wrong.code == 2 && wrong.err.contains("needs `>`"), "{}", wrong.err);

    let curve = stage.drover(&["host", "power-curve", "h1"]);
    assert!(
        curve.out.contains("all cores busy") && curve.out.contains("100 % CPU"),
        "{}",
        curve.out
    );
    let curve = stage.json(&["host", "power-curve", "h1", "--package"]);
    assert_eq!(curve["metric"], "power.package_watts");

    let report = stage.drover(&["power", "report", "--days", "2", "--co2", "400"]);
    assert!(report.out.contains("saved by parking") && report.out.contains("h2"), "{}", report.out);
    let report = stage.drover(&["power", "report", "--days", "2", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["hosts"].as_array().unwrap().len(), 2);

    stage.drover(&["host", "label", "h2", "rack=1"]);
    let cap = ["policy", "set", "power-cap", "rack1", "--hosts", "label=rack:1", "--watts", "4000"];
    assert_eq!(stage.json(&cap)["members"][0], "h2");
    let shown = stage.drover(&["policy", "show"]);
    assert!(shown.out.contains("rack1") && shown.out.contains("4000 W"), "{}", shown.out);
    assert_eq!(stage.drover(&["policy", "unset", "power-cap", "rack1"]).code, 0);
    assert_eq!(stage.drover(&["policy", "unset", "power-cap", "rack1"]).code, 4);
}
