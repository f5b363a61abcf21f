//! BMCs that measure: into history, one source at a time, and also while the host is off.

use drover_controller::reconcile::{MeasureBmcs, Reconcile};
use drover_model::{BmcAddress, BmcProtocol, BmcTls, Metric, PowerState};
use drover_ports::memory::BmcFault;
use drover_ports::{Bmc, Clock as _, Entity, Resolution, SamplePoint, Secret};
use drover_testkit::host_id;
use serde_json::json;
use std::time::Duration;

use super::stage::{PASSWORD, Stage, address};

async fn series(stage: &Stage, n: u128) -> Vec<f64> {
    let now = stage.world().clock.now();
    let from = now.minus(Duration::from_secs(3600));
    let entity = Entity::Host(host_id(n));
    let history = &stage.world().api.history;
    let points = history.series(entity, Metric::PowerWatts, from, now, Resolution::Full).await;
    points.unwrap().into_iter().map(|point| point.mean).collect()
}

async fn measure(stage: &Stage, measure: &MeasureBmcs) {
    stage.world().clock.advance(Duration::from_secs(5));
    measure.reconcile().await.unwrap();
    measure.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_bmc_measures_where_it_is_set_and_nowhere_else() {
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(2).await;
    stage.with_bmc(3).await;
    stage.set(3, json!({ "watts": "bmc" })).await;
    let bmcs = MeasureBmcs::new(stage.world().api.power.clone());
    measure(&stage, &bmcs).await;
    measure(&stage, &bmcs).await;
    assert_eq!((series(&stage, 2).await, series(&stage, 3).await), (vec![], vec![120.0, 120.0]));
    let power = stage.power(3).await;
    assert_eq!((&power["watts"], &power["watts_1m"]), (&json!(120.0), &json!(120.0)), "{power}");
    assert_eq!(power["source"], "ipmi");
    assert!(power["accuracy"].as_str().unwrap().contains("whole machine"));
    assert!(stage.power(2).await["no_watts"].is_string());
    // It draws a little while it is off.
    stage.parked(3).await;
    measure(&stage, &bmcs).await;
    assert_eq!(series(&stage, 3).await.last(), Some(&5.0));
    stage.world().machines.set_fault(&address(3), BmcFault::Unreachable);
    measure(&stage, &bmcs).await;
    let power = stage.power(3).await;
    assert!(power["no_watts"].as_str().unwrap().contains("does not answer"), "{power}");
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_refuses_the_login_is_left_alone_for_a_while() {
    let stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.set(3, json!({ "watts": "bmc" })).await;
    let bmcs = MeasureBmcs::new(stage.world().api.power.clone());
    let denials = || stage.world().machines.denials(&address(3));
    stage.world().machines.set_fault(&address(3), BmcFault::Denies);
    for _ in 0..30 {
        measure(&stage, &bmcs).await;
    }
    assert_eq!(denials(), 1);
    let power = stage.power(3).await;
    assert!(power["no_watts"].as_str().unwrap().contains("refuses the login"), "{power}");
    // Another password is tried at once.
    stage.with_bmc(3).await;
    measure(&stage, &bmcs).await;
    assert_eq!(denials(), 2);
    stage.world().clock.advance(Duration::from_secs(1800));
    stage.world().machines.set_fault(&address(3), BmcFault::None);
    measure(&stage, &bmcs).await;
    assert_eq!(stage.power(3).await["watts"], json!(120.0));
}

#[tokio::test(start_paused = true)]
async fn an_agents_own_watts_are_left_out_where_the_bmc_measures() {
    let stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.set(3, json!({ "watts": "bmc" })).await;
    let bmcs = MeasureBmcs::new(stage.world().api.power.clone());
    measure(&stage, &bmcs).await;
    let at = stage.world().clock.now();
    let values = vec![(Metric::CpuUsageActive, 10.0), (Metric::PowerWatts, 33.0)];
    let point = |n| SamplePoint { entity: Entity::Host(host_id(n)), at, values: values.clone() };
    let tables = stage.world().records.read();
    let watts = &stage.world().api.power.watts;
    let (shown, kept) = watts.overlay(&tables, host_id(3), vec![point(3)]);
    assert_eq!(kept[0].values, [(Metric::CpuUsageActive, 10.0)]);
    let shown = shown.unwrap();
    assert_eq!(shown[0].values.last(), Some(&(Metric::PowerWatts, 120.0)));
    let (shown, kept) = watts.overlay(&tables, host_id(2), vec![point(2)]);
    assert_eq!((shown, kept), (None, vec![point(2)]));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_trusted_is_told_with_its_cure() {
    let stage = Stage::new(3, 0).await;
    let pin = |byte: &str| byte.repeat(32);
    let tls = BmcTls::Pinned { sha256: pin("ab") };
    let of = BmcAddress { protocol: BmcProtocol::Redfish, port: 443, tls, ..address(3) };
    let bmc = Bmc { address: of, password: Secret::new(PASSWORD) };
    stage.world().machines.add(&bmc, PowerState::On, Some(77.0));
    let bmcs = MeasureBmcs::new(stage.world().api.power.clone());
    let admin = stage.world().token(drover_api::v1::Role::Admin).await;
    for (trusted, watts) in [(pin("cd"), json!(null)), (pin("ab"), json!(77.0))] {
        let body = json!({
            "protocol": "redfish", "address": "bmc3", "user": "drover", "password": PASSWORD,
            "tls_pin": trusted,
        });
        stage.world().call("PUT", "/v1/hosts/h3/bmc", Some(&admin), Some(body)).await;
        stage.set(3, json!({ "watts": "bmc" })).await;
        measure(&stage, &bmcs).await;
        let power = stage.power(3).await;
        assert_eq!(power["watts"], watts, "{power}");
        let why = power["no_watts"].as_str().unwrap_or_default();
        for part in ["certificate is not trusted", "openssl s_client", "--tls-pin"] {
            assert_eq!(why.contains(part), watts.is_null(), "{part}: {power}");
        }
    }
}
