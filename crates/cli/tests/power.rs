//! Hosts' power as a user sets it up: BMCs, cards, refusals, and passwords that stay secret.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "every test program uses another part of it")]
mod support;

use serde_json::json;
use support::Stage;

const PASSWORD: &str = "calvin-and-hobbes";

#[test]
fn a_hosts_power_is_set_up_and_its_password_is_shown_nowhere() {
    let stage = Stage::up();
    let file = stage.dir().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let bmc = ["host", "bmc", "set", "h2", "--protocol", "redfish", "--address", "127.0.0.1"];
    let rest = ["--port", "1", "--user", "drover", "--plain", "--password-file"];
    let words: Vec<&str> = bmc.into_iter().chain(rest).chain([file.to_str().unwrap()]).collect();
    let set = stage.drover(&words);
    assert_eq!(set.code, 0, "{}", set.err);
    assert!(set.out.contains("set, sealed") && set.out.contains("port 1"), "{}", set.out);
    a_password_comes_from_the_environment_too(&stage);
    let set = stage.drover(&[
        "host",
        "power",
        "set",
        "h2",
        "--mac",
        "52:54:00:12:34:56",
        "--tries",
        "3",
        "--pause",
        "2s",
        "--keep-awake",
    ]);
    assert_eq!(set.code, 0, "{}", set.err);
    let power = stage.json(&["host", "power", "h2"]);
    assert_eq!(power["settings"]["methods"], json!(["bmc", "wake_on_lan"]), "{power}");
    assert_eq!(power["settings"]["tries"], 3);
    let shown = stage.drover(&["host", "power", "h2"]);
    assert!(shown.out.contains("3 tries 2s apart"), "{}", shown.out);
    let refused = stage.drover(&["host", "power", "set", "h2", "--mac", "nonsense"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    parking_is_refused_with_every_reason(&stage);
    a_host_that_is_up_is_awake_at_once(&stage);
    let told = stage.drover(&["event", "list", "-o", "json"]).out;
    let all = [set.out, shown.out, told, stage.drover(&["host", "bmc", "show", "h2"]).out];
    assert!(all.iter().all(|text| !text.contains(PASSWORD)));
    let database = std::fs::read(stage.dir().join("droverd/drover.db")).unwrap();
    let log = std::fs::read(stage.dir().join("droverd/drover.db-wal")).unwrap_or_default();
    for bytes in [database, log] {
        assert!(!bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()));
    }
    assert_eq!(stage.drover(&["host", "bmc", "remove", "h2"]).code, 0);
    assert_eq!(stage.drover(&["host", "bmc", "show", "h2"]).code, 4);
}

fn a_password_comes_from_the_environment_too(stage: &Stage) {
    let admin = stage.admin();
    let words =
        ["host", "bmc", "set", "h1", "--protocol", "ipmi", "--address", "bmc1", "--user", "root"];
    let environment = [("DROVER_CONFIG", admin.to_str().unwrap()), ("DROVER_BMC_PASSWORD", "x")];
    let set = stage.run(&words, &environment);
    assert_eq!(set.code, 0, "{}", set.err);
    let without = stage.drover(&words);
    assert_eq!(without.code, 2, "nothing on standard input: {}", without.out);
}

fn parking_is_refused_with_every_reason(stage: &Stage) {
    let dry = stage.drover(&["host", "park", "h2", "--dry-run"]);
    assert_eq!(dry.code, 6, "{}", dry.err);
    for reason in [
        "keep-awake",
        "drover host power set h2 --keep-awake=false",
        "untested",
        "drover host park h2 --untested",
    ] {
        assert!(dry.out.contains(reason), "{reason}: {}", dry.out);
    }
    let refused = stage.drover(&["host", "park", "h2"]);
    assert_eq!(refused.code, 6, "{}", refused.err);
    assert!(refused.err.contains("set to stay awake") && refused.err.contains("nothing was begun"));
    assert!(refused.err.contains("drover host check-wake h2"), "{}", refused.err);
    let reserve = stage.drover(&["host", "reserve", "--min-awake", "2"]);
    assert!(reserve.out.contains("2 host(s)"), "{}", reserve.out);
    let dry = stage.drover(&["host", "park", "h2", "--untested", "--dry-run"]);
    assert!(dry.out.contains("1 host(s) would stay awake, and 2 must"), "{}", dry.out);
}

fn a_host_that_is_up_is_awake_at_once(stage: &Stage) {
    let wake = stage.drover(&["host", "wake", "h2", "--wait"]);
    assert_eq!(wake.code, 0, "{}{}", wake.out, wake.err);
    assert!(wake.out.contains("h2 on"), "{}", wake.out);
    let hosts = stage.drover(&["host", "list"]);
    assert!(!hosts.out.contains("waking"), "{}", hosts.out);
}
