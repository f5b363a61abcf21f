//! Passwords go in and never come out: not by the API, not in the store, not in an event.

use axum::http::StatusCode;
use drover_api::v1::Role;
use drover_controller::power::KEY_FILE;
use drover_controller::reconcile::{MeasureBmcs, Reconcile};
use drover_model::HostId;
use drover_ports::memory::BmcFault;
use serde_json::json;
use std::sync::{Arc, Mutex};

use super::stage::{PASSWORD, Quirk, Stage, address};

const SECURE_ON: &str = "0a:0b:0c:0d:0e:0f";

/// What is logged, every level of it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn no_log_line_has_a_password_whatever_goes_wrong() {
    let log = Log::default();
    let writer = log.clone();
    let all = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _all = tracing::subscriber::set_default(all);
    let mut stage = Stage::new(3, 0).await;
    stage.with_bmc(3).await;
    stage.with_card(3).await;
    stage.set(3, json!({ "secure_on": SECURE_ON, "tries": 4, "watts": "bmc" })).await;
    stage.parked(3).await;
    let bmcs = MeasureBmcs::new(stage.world().api.power.clone());
    for fault in [BmcFault::Denies, BmcFault::Unreachable, BmcFault::IgnoresSwitches] {
        stage.world().machines.set_fault(&address(3), fault);
        stage.quirk(3, Quirk::DeadNic);
        stage.call("POST", "/v1/hosts/h3/wake", None).await;
        bmcs.reconcile().await.unwrap();
        bmcs.idle().await;
        stage.until_phase(3, "wake-failed").await;
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("wrong user or password") && text.contains("wake_on_lan"), "{text}");
    for secret in [PASSWORD, SECURE_ON, "[10, 11, 12, 13, 14, 15]", "0a0b0c0d0e0f"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

fn shows(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_password_is_nowhere_but_sealed() {
    let mut stage = Stage::new(2, 0).await;
    stage.with_bmc(2).await;
    stage.set(2, json!({ "secure_on": SECURE_ON })).await;
    let rows = stage.world().records.store().list("").await.unwrap();
    assert!(rows.iter().any(|(key, _)| key.starts_with("host-secret/")), "it is stored");
    for (key, row) in &rows {
        for secret in [PASSWORD, SECURE_ON] {
            assert!(!shows(&row.value, secret), "{key}");
        }
    }
    for path in
        ["/v1/hosts/h2/bmc", "/v1/hosts/h2/power", "/v1/hosts/h2", "/v1/events", "/v1/hosts"]
    {
        let (status, answer) = stage.call("GET", path, None).await;
        assert_eq!(status, StatusCode::OK);
        let text = answer.to_string();
        assert!(!text.contains(PASSWORD) && !text.contains(SECURE_ON), "{path}: {text}");
    }
    let shown = format!("{:?}", stage.world().records.read().host_secrets);
    assert!(shown.contains("Sealed(…)") && !shown.contains(PASSWORD), "{shown}");
    // The key is beside the database, not in it, and still opens after a restart.
    let key = std::fs::read_to_string(stage.world().dir.path().join(KEY_FILE)).unwrap();
    assert!(rows.iter().all(|(_, row)| !shows(&row.value, key.trim())));
    stage = stage.restart().await;
    let board = &stage.world().api.power;
    let host = HostId::from_u128(2);
    assert!(board.bmcs.state(&board.records, host).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_the_key_a_bmc_is_not_asked() {
    let stage = Stage::new(2, 0).await;
    stage.with_bmc(2).await;
    std::fs::remove_file(stage.world().dir.path().join(KEY_FILE)).unwrap();
    let stage = stage.restart().await;
    let board = &stage.world().api.power;
    let answer = board.bmcs.state(&board.records, HostId::from_u128(2)).await;
    let said = answer.unwrap_err().to_string();
    assert!(said.contains("secrets.key is missing"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_password_is_not_sent_to_another_machine_than_it_was_set_for() {
    let stage = Stage::new(2, 0).await;
    stage.with_bmc(2).await;
    let admin = stage.world().token(Role::Admin).await;
    let put =
        async |body| stage.world().call("PUT", "/v1/hosts/h2/bmc", Some(&admin), Some(body)).await;
    let same = json!({ "protocol": "ipmi", "address": "bmc2", "user": "root" });
    let (status, answer) = put(same).await;
    assert_eq!((status, &answer["user"]), (StatusCode::OK, &json!("root")), "{answer}");
    let other = json!({ "protocol": "ipmi", "address": "evil", "user": "root" });
    let (status, problem) = put(other).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("no password"), "{problem}");
    let bmc = stage.record(2).unwrap().settings.bmc.unwrap();
    assert_eq!(bmc.host, address(2).host);
}

#[tokio::test(start_paused = true)]
async fn a_removed_bmc_leaves_no_password() {
    let stage = Stage::new(2, 0).await;
    stage.with_bmc(2).await;
    let admin = stage.world().token(Role::Admin).await;
    let call =
        async |method| stage.world().call(method, "/v1/hosts/h2/bmc", Some(&admin), None).await.0;
    assert_eq!(call("DELETE").await, StatusCode::NO_CONTENT);
    assert_eq!(call("GET").await, StatusCode::NOT_FOUND);
    assert_eq!(call("DELETE").await, StatusCode::NOT_FOUND);
    assert!(stage.world().records.read().host_secrets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_no_good_is_not_repeated() {
    let stage = Stage::new(2, 0).await;
    let admin = stage.world().token(Role::Admin).await;
    for (method, path, body) in [
        ("PUT", "/v1/hosts/h2/bmc", json!({ "protocol": "ipmi", "password": 12_345_678 })),
        ("PUT", "/v1/hosts/h2/bmc", json!({ "password": { "text": "12345678" } })),
        ("PATCH", "/v1/hosts/h2/power", json!({ "secure_on": 12_345_678 })),
    ] {
        let (status, problem) = stage.world().call(method, path, Some(&admin), Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(!problem.to_string().contains("12345678"), "{problem}");
    }
}
