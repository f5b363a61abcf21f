//! Redfish services as they differ: sessions, allowed resets, who measures, and answers
//! that must not be believed. The contract itself is tried on a service that is not ours,
//! in the lab.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use drover_adapter_power::BmcPower;
use drover_model::{BmcAddress, BmcProtocol, BmcTls, PowerState};
use drover_ports::{Bmc, Power, PowerError, Secret};
use serde_json::{Value, json};

/// How a service takes a login.
#[derive(Clone, Copy, PartialEq)]
enum Login {
    /// `drover` and `right` with each request.
    Basic,
    /// By a session only.
    Session,
}

struct Service {
    login: Login,
    resources: BTreeMap<&'static str, Value>,
    seen: Vec<String>,
}

type Shared = Arc<Mutex<Service>>;

const BASIC: &str = "Basic ZHJvdmVyOnJpZ2h0";

async fn answer(
    State(service): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut service = service.lock().unwrap();
    let path = uri.path().to_owned();
    service.seen.push(format!("{method} {path}"));
    let reply = |status: u16, body: Value| {
        Response::builder().status(status).body(Body::from(body.to_string())).unwrap()
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    if path == "/redfish/v1/Sessions" && method == Method::POST {
        if sent != json!({ "UserName": "drover", "Password": "right" }) {
            return reply(401, json!({}));
        }
        return Response::builder()
            .status(201)
            .header("X-Auth-Token", "t0k")
            .header("Location", "/redfish/v1/Sessions/1")
            .body(Body::from("{}"))
            .unwrap();
    }
    let knows = match service.login {
        Login::Basic => header("authorization") == Some(BASIC),
        Login::Session => header("x-auth-token") == Some("t0k"),
    };
    if path != "/redfish/v1/" && !knows {
        let builder = Response::builder().status(401);
        let builder = match service.login {
            Login::Basic => builder.header("WWW-Authenticate", "Basic realm=\"bmc\""),
            Login::Session => builder,
        };
        return builder.body(Body::from("{}")).unwrap();
    }
    if path == "/far" {
        let builder = Response::builder().status(307).header("Location", "http://192.0.2.1/x");
        return builder.body(Body::empty()).unwrap();
    }
    if path.ends_with("/reset") {
        let system = service.resources.get_mut("/redfish/v1/Systems/1").unwrap();
        match sent["ResetType"].as_str() {
            Some("On" | "ForceOn") => system["PowerState"] = json!("On"),
            Some("ForceOff") => system["PowerState"] = json!("Off"),
            _ => return reply(400, json!({ "error": { "message": "no such reset: right" } })),
        }
        return reply(204, Value::Null);
    }
    match service.resources.get(path.as_str()) {
        Some(found) => reply(200, found.clone()),
        None => reply(404, json!({ "error": { "message": "not found" } })),
    }
}

fn to(path: &str) -> Value {
    json!({ "@odata.id": path })
}

impl Service {
    fn new(login: Login) -> Self {
        let resources = BTreeMap::from([
            (
                "/redfish/v1/",
                json!({
                    "RedfishVersion": "1.15.0",
                    "Systems": to("/redfish/v1/Systems"),
                    "Links": { "Sessions": to("/redfish/v1/Sessions") },
                }),
            ),
            ("/redfish/v1/Systems", json!({ "Members": [to("/redfish/v1/Systems/1")] })),
            (
                "/redfish/v1/Systems/1",
                json!({
                    "Id": "1",
                    "PowerState": "Off",
                    "Links": { "Chassis": [to("/redfish/v1/Chassis/1")] },
                    "Actions": { "#ComputerSystem.Reset": {
                        "target": "/redfish/v1/Systems/1/reset",
                        "ResetType@Redfish.AllowableValues": ["ForceOn", "ForceOff"],
                    } },
                }),
            ),
            ("/redfish/v1/Chassis/1", json!({ "Id": "1" })),
        ]);
        Self { login, resources, seen: Vec::new() }
    }

    fn with(mut self, path: &'static str, resource: Value) -> Self {
        self.resources.insert(path, resource);
        self
    }

    /// Adds fields to a resource.
    fn and(mut self, path: &'static str, fields: Value) -> Self {
        let resource = self.resources.get_mut(path).unwrap().as_object_mut().unwrap();
        resource.extend(fields.as_object().unwrap().clone());
        self
    }

    /// With one power number at a place of the chassis.
    fn measuring(self, name: &'static str, path: &'static str, resource: Value) -> Self {
        self.and("/redfish/v1/Chassis/1", json!({ name: to(path) })).with(path, resource)
    }

    async fn serve(self) -> (Bmc, Shared) {
        let shared = Arc::new(Mutex::new(self));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let address = BmcAddress {
            protocol: BmcProtocol::Redfish,
            host: "127.0.0.1".to_owned(),
            port,
            user: "drover".to_owned(),
            cipher_suite: None,
            system: None,
            tls: BmcTls::Plain,
        };
        (Bmc { address, password: Secret::new("right") }, shared)
    }
}

async fn watts(service: Service) -> Result<f64, PowerError> {
    let (bmc, _) = service.serve().await;
    BmcPower::default().reading(&bmc).await.map(|reading| reading.watts)
}

#[tokio::test]
async fn a_machine_is_switched_by_an_allowed_reset() {
    let (bmc, _) = Service::new(Login::Basic).serve().await;
    let power = BmcPower::default();
    assert_eq!(power.state(&bmc).await, Ok(PowerState::Off));
    for _ in 0..2 {
        power.switch_on(&bmc).await.unwrap();
        assert_eq!(power.state(&bmc).await, Ok(PowerState::On));
    }
    power.switch_off(&bmc).await.unwrap();
    assert_eq!(power.state(&bmc).await, Ok(PowerState::Off));
}

#[tokio::test]
async fn a_session_is_made_where_basic_is_off_and_ended() {
    let (bmc, service) = Service::new(Login::Session).serve().await;
    let power = BmcPower::default();
    power.switch_on(&bmc).await.unwrap();
    let seen = service.lock().unwrap().seen.clone();
    let count = |what: &str| seen.iter().filter(|line| *line == what).count();
    assert_eq!(count("POST /redfish/v1/Sessions"), 1, "{seen:?}");
    assert_eq!(count("DELETE /redfish/v1/Sessions/1"), 1, "{seen:?}");
    let wrong = Bmc { password: Secret::new("left"), ..bmc };
    let state = power.state(&wrong).await;
    assert!(matches!(state, Err(PowerError::Denied(_))), "{state:?}");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let (bmc, service) = Service::new(Login::Basic).serve().await;
    let wrong = Bmc { password: Secret::new("left"), ..bmc };
    let state = BmcPower::default().state(&wrong).await;
    assert!(matches!(state, Err(PowerError::Denied(_))), "{state:?}");
    // An account is locked after a few.
    assert_eq!(service.lock().unwrap().seen.len(), 2);
}

#[tokio::test]
async fn a_reset_that_is_not_allowed_is_refused() {
    let info = json!({ "Parameters": [
        { "Name": "ResetType", "AllowableValues": ["PushPowerButton", "Nmi"] },
    ] });
    let service = Service::new(Login::Basic)
        .and(
            "/redfish/v1/Systems/1",
            json!({ "Actions": { "#ComputerSystem.Reset": {
                "target": "/redfish/v1/Systems/1/reset",
                "@Redfish.ActionInfo": "/info",
            } } }),
        )
        .with("/info", info);
    let (bmc, _) = service.serve().await;
    let on = BmcPower::default().switch_on(&bmc).await;
    assert!(matches!(&on, Err(PowerError::Refused(said)) if said.contains("Nmi")), "{on:?}");
}

#[tokio::test]
async fn every_resource_that_measures_is_found() {
    let chassis = || Service::new(Login::Basic);
    let found = chassis().measuring(
        "EnvironmentMetrics",
        "/e",
        json!({ "PowerWatts": { "Reading": 374.5 } }),
    );
    assert_eq!(watts(found).await, Ok(374.5));
    let found = chassis().measuring(
        "Power",
        "/p",
        json!({ "PowerControl": [{ "PowerConsumedWatts": 210 }, { "PowerConsumedWatts": 60 }] }),
    );
    assert_eq!(watts(found).await, Ok(210.0));
    let found = chassis()
        .measuring("PowerSubsystem", "/s", json!({ "PowerSupplies": to("/ps") }))
        .with("/ps", json!({ "Members": [to("/ps/1"), to("/ps/2"), to("/ps/3")] }))
        .with("/ps/1", json!({ "Metrics": to("/ps/1/m") }))
        .with("/ps/1/m", json!({ "InputPowerWatts": { "Reading": 100.5 } }))
        .with("/ps/2", json!({ "Metrics": to("/ps/2/m") }))
        .with("/ps/2/m", json!({ "InputPowerWatts": { "Reading": 99.5 } }))
        .with("/ps/3", json!({ "Status": { "State": "Absent" } }));
    assert_eq!(watts(found).await, Ok(200.0));
    let found = chassis()
        .measuring("Sensors", "/n", json!({ "Members": [to("/n/total_power"), to("/n/fan1")] }))
        .with(
            "/n/total_power",
            json!({ "Name": "Total Power", "ReadingUnits": "W", "Reading": 88 }),
        );
    assert_eq!(watts(found).await, Ok(88.0));
}

#[tokio::test]
async fn a_null_is_no_reading() {
    let null = Service::new(Login::Basic)
        .measuring("EnvironmentMetrics", "/e", json!({ "PowerWatts": { "Reading": null } }))
        .measuring("Power", "/p", json!({ "PowerControl": [{ "PowerConsumedWatts": null }] }));
    let found = watts(null).await;
    assert!(matches!(found, Err(PowerError::Refused(_))), "{found:?}");
}

#[tokio::test]
async fn a_system_among_several_must_be_named() {
    let service = Service::new(Login::Basic)
        .and(
            "/redfish/v1/Systems",
            json!({ "Members": [to("/redfish/v1/Systems/1"), to("/redfish/v1/Systems/blade2")] }),
        )
        .with("/redfish/v1/Systems/blade2", json!({ "Name": "h2", "PowerState": "On" }));
    let (mut bmc, _) = service.serve().await;
    let power = BmcPower::default();
    let state = power.state(&bmc).await;
    assert!(matches!(&state, Err(PowerError::Refused(said)) if said.contains("blade2")));
    for name in ["blade2", "h2", "/redfish/v1/Systems/blade2"] {
        bmc.address.system = Some(name.to_owned());
        assert_eq!(power.state(&bmc).await, Ok(PowerState::On), "{name}");
    }
    bmc.address.system = Some("blade9".to_owned());
    assert!(matches!(power.state(&bmc).await, Err(PowerError::Refused(_))));
}

#[tokio::test]
async fn a_service_leads_nowhere_else() {
    for target in ["//192.0.2.1/x", "http://192.0.2.1/x", "/far"] {
        let root = json!({ "RedfishVersion": "1.0.0", "Systems": to(target) });
        let (bmc, _) = Service::new(Login::Basic).with("/redfish/v1/", root).serve().await;
        let begun = std::time::Instant::now();
        let state = BmcPower::default().state(&bmc).await;
        let refused = matches!(state, Err(PowerError::Broken(_) | PowerError::Refused(_)));
        assert!(refused, "{target}: {state:?}");
        assert!(begun.elapsed().as_secs() < 3, "{target} was followed");
    }
}

#[tokio::test]
async fn answers_have_a_limit_and_a_form() {
    let large = json!({ "RedfishVersion": "1.0.0", "x": "y".repeat(2 << 20) });
    for root in [large, json!("text"), json!({})] {
        let (bmc, _) = Service::new(Login::Basic).with("/redfish/v1/", root).serve().await;
        let state = BmcPower::default().state(&bmc).await;
        let refused = matches!(state, Err(PowerError::Broken(_) | PowerError::Refused(_)));
        assert!(refused, "{state:?}");
    }
}

/// A service whose certificate nobody vouches for; returns its port, and whether anything was
/// said to it after the handshake.
fn unknown_service() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let of = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(of.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![of.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut text = Vec::new();
            // Ends with an alert: that is what is tried.
            let _ = stream.read_to_end(&mut text);
            hears.lock().unwrap().extend(text);
        }
    });
    (port, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_named_and_hears_no_password() {
    // As droverd does; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (port, heard) = unknown_service();
    let power = BmcPower::default();
    for tls in [BmcTls::System, BmcTls::Pinned { sha256: "ab".repeat(32) }] {
        let address = BmcAddress {
            protocol: BmcProtocol::Redfish,
            host: "127.0.0.1".to_owned(),
            port,
            user: "drover".to_owned(),
            cipher_suite: None,
            system: None,
            tls,
        };
        let bmc = Bmc { address, password: Secret::new("right") };
        let said = power.state(&bmc).await.unwrap_err();
        assert!(matches!(said, PowerError::Untrusted(_)), "{:?}: {said:?}", bmc.address.tls);
        let told = said.to_string();
        assert!(told.contains("is not trusted") && told.contains("--tls-pin"), "{told}");
    }
    assert!(heard.lock().unwrap().is_empty(), "something was sent to it");
}
