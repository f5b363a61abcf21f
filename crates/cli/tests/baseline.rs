//! CPUs of a cluster whose hosts differ: checks, baselines and trapped guests.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test program uses its part of the support")]

mod support;

use drover_model::{GuestId, NamedCpu};
use support::Stage;

const PICKY: GuestId = GuestId::from_u128(0x6003);

/// h2 has not avx2, and vm3 on h1 runs with it.
fn stage() -> Stage {
    let stage = Stage::up();
    stage.hosts[1].give_features(&["aes", "avx", "sse4.2"]);
    let features = [("avx2".to_owned(), true)].into();
    let cpu = NamedCpu { model: "qemu64".to_owned(), vendor: None, features };
    stage.hosts[0].start_with(PICKY, "vm3", cpu);
    stage.until("vm3 is adopted and measured", |stage| {
        stage.json(&["guest", "show", "vm3"])["vcpu_percent"].is_number()
    });
    stage
}

#[test]
fn guests_are_kept_from_hosts_without_their_cpu_and_get_one_that_fits_all() {
    let stage = stage();
    a_guest_is_checked_before_it_is_moved(&stage);
    a_baseline_is_computed_shown_and_applied(&stage);
    trapped_guests_are_found(&stage);
}

fn a_guest_is_checked_before_it_is_moved(stage: &Stage) {
    let fits = stage.drover(&["guest", "check", "vm1", "--to", "h2"]);
    assert_eq!(fits.code, 0, "{}{}", fits.out, fits.err);
    let all = stage.drover(&["guest", "check", "vm3"]);
    assert!(all.code == 0 && all.out.contains("h2    no"), "{}{}", all.out, all.err);
    assert!(all.out.contains("avx2") && all.out.contains("cure: "), "{}", all.out);
    assert_eq!(stage.drover(&["guest", "check", "vm3", "--to", "h2"]).code, 6);
    let refused = stage.drover(&["guest", "migrate", "vm3", "--to", "h2"]);
    assert!(refused.code == 6 && refused.err.contains("avx2"), "{}", refused.err);
    assert_eq!(stage.homes("vm3"), ["h1"]);
}

fn a_baseline_is_computed_shown_and_applied(stage: &Stage) {
    assert_eq!(stage.drover(&["baseline", "show", "all"]).code, 4);
    let computed = stage.json(&["baseline", "compute"]);
    assert_eq!(computed["features"], serde_json::json!(["aes", "avx", "sse4.2"]), "{computed}");
    assert_eq!((&computed["generation"], &computed["outdated"]), (&1.into(), &false.into()));
    assert_eq!(stage.json(&["baseline", "compute"])["generation"], 1, "the same outcome");
    stage.hosts[1].give_features(&["aes", "sse4.2"]);
    assert_eq!(stage.json(&["baseline", "compute"])["generation"], 2);
    let shown = stage.drover(&["baseline", "show"]).out;
    assert!(shown.contains("<cpu mode='custom'") && shown.contains("h2 as it was"), "{shown}");
    let applied = stage.json(&["baseline", "apply", "--guest", "vm3"]);
    assert_eq!(applied[0]["counts"], "at-next-start", "{applied}");
    let stored = stage.hosts[0].stored_cpu(PICKY).unwrap();
    assert!(stored.features["aes"] && !stored.features["avx2"], "{stored:?}");
    let nowhere = stage.drover(&["baseline", "compute", "rack=r9"]);
    assert!(nowhere.code == 4 && nowhere.err.contains("rack=r9"), "{}", nowhere.err);
}

fn trapped_guests_are_found(stage: &Stage) {
    let names = |words: &[&str]| {
        let trapped = stage.json(&[&["baseline", "trapped"], words].concat());
        let name = |one: &serde_json::Value| one["guest"].as_str().unwrap().to_owned();
        trapped.as_array().unwrap().iter().map(name).collect::<Vec<String>>()
    };
    assert_eq!(names(&[]), ["vm3"]);
    assert_eq!(names(&["--after-upgrade", "h2"]), ["vm3"]);
    assert_eq!(names(&["--after-upgrade", "h1"]), Vec::<String>::new());
    assert_eq!(names(&["--without", "h2"]), ["vm1", "vm2", "vm3"], "h1 is alone then");
}
