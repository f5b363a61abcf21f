//! The public API: every route, every role, and what bad input gets.

use std::time::Duration;

use axum::http::StatusCode;
use drover_api::routes::{Access, ROUTES};
use drover_api::v1::Role;
use drover_controller::records::{GuestRecord, HostRecord};
use drover_model::Metric;
use drover_ports::{Entity, SamplePoint};
use drover_testkit::guest;
use serde_json::{Value, json};

use crate::world::World;

/// A path with its parameters filled in.
fn filled(path: &str) -> String {
    path.replace("{metric}", "cpu.usage_active")
        .split('/')
        .map(|part| if part.starts_with('{') { "nothing" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn every_route_exists_and_keeps_its_role() {
    let world = World::new().await;
    let viewer = world.token(Role::Viewer).await;
    let operator = world.token(Role::Operator).await;
    let admin = world.token(Role::Admin).await;
    for route in ROUTES {
        let path = filled(route.path);
        let body = route.request.map(|_| json!({}));
        let call = async |token| world.call(route.method, &path, token, body.clone()).await;
        let shown = format!("{} {}", route.method, route.path);
        let Access::Role(needed) = route.access else {
            let (status, answer) = call(None).await;
            assert_ne!(answer["detail"], "there is no such path", "{shown}");
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{shown}");
            continue;
        };
        assert_eq!(call(None).await.0, StatusCode::UNAUTHORIZED, "{shown} without a token");
        assert_eq!(call(Some("drt1_x_y")).await.0, StatusCode::UNAUTHORIZED, "{shown}");
        for (role, token) in
            [(Role::Viewer, &viewer), (Role::Operator, &operator), (Role::Admin, &admin)]
        {
            let (status, answer) = call(Some(token)).await;
            assert_eq!(status == StatusCode::FORBIDDEN, role < needed, "{shown} as {role:?}");
            assert_ne!(answer["detail"], "there is no such path", "{shown}");
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{shown}");
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{shown}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_rule_is_created_changed_and_deleted() {
    let world = World::new().await;
    let token = world.token(Role::Operator).await;
    let token = Some(token.as_str());
    let rule = json!({"name": "hot", "spec": {"condition": "cpu.usage_active.gt 60"}});
    let (status, made) = world.call("POST", "/v1/rules", token, Some(rule.clone())).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["spec"]["condition"], "cpu.usage_active > 60");
    assert_eq!((&made["clear_value"], &made["spec"]["period"]), (&json!(54.0), &json!("2m")));
    let (status, again) = world.call("POST", "/v1/rules", token, Some(rule)).await;
    assert_eq!((status, &again["kind"]), (StatusCode::CONFLICT, &json!("conflict")), "{again}");
    let change = json!({"condition": "cpu.usage_active > 80", "enabled": false});
    let (_, changed) = world.call("PATCH", "/v1/rules/hot", token, Some(change)).await;
    assert_eq!((&changed["clear_value"], &changed["enabled"]), (&json!(72.0), &json!(false)));
    assert_eq!(world.call("DELETE", "/v1/rules/hot", token, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.call("GET", "/v1/rules/hot", token, None).await.0, StatusCode::NOT_FOUND);
    let (_, events) = world.call("GET", "/v1/events?rule=hot", token, None).await;
    let kinds: Vec<&str> =
        events["items"].as_array().unwrap().iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["audit.rule"; 3], "every change leaves an audit record");
}

#[tokio::test]
async fn what_was_said_of_a_guest_is_taken_back() {
    let world = World::new().await;
    let token = world.token(Role::Operator).await;
    let token = Some(token.as_str());
    let record = GuestRecord { guest: guest(1, 1, 1024), last_moved: None, absent: false };
    let path = format!("/v1/guests/{}/policy", record.guest.id);
    world.update(|txn| txn.put(record)).await;
    let at_first = world.call("GET", &path, token, None).await.1;
    assert_eq!(
        (&at_first["max_downtime_ms"], &at_first["max_downtime_is_limit"]),
        (&json!(1000), &json!(false))
    );
    let wanted = json!({"max_downtime_ms": 500, "post_copy": false, "priority": 3});
    let (_, set) = world.call("PUT", &path, token, Some(wanted)).await;
    assert_eq!((&set["max_downtime_is_limit"], &set["post_copy"]), (&json!(true), &json!(false)));
    // Also where nothing is left to take back.
    for _ in 0..2 {
        assert_eq!(world.call("DELETE", &path, token, None).await.0, StatusCode::NO_CONTENT);
        assert_eq!(world.call("GET", &path, token, None).await.1, at_first);
    }
    let gone = world.call("DELETE", "/v1/guests/none/policy", token, None).await;
    assert_eq!(gone.0, StatusCode::NOT_FOUND, "{}", gone.1);
}

#[tokio::test]
async fn events_of_what_was_never_there_are_a_mistake() {
    let world = World::new().await;
    let token = world.token(Role::Operator).await;
    for (query, part) in [
        ("host=h9", "no host `h9`"),
        ("guest=vm9", "no guest `vm9`"),
        ("rule=r9", "no rule `r9`"),
        ("operation=o9", "no operation `o9`"),
    ] {
        let path = format!("/v1/events?{query}");
        let (status, answer) = world.call("GET", &path, Some(&token), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{query}: {answer}");
        assert!(answer["detail"].as_str().unwrap_or_default().contains(part), "{query}: {answer}");
    }
}

#[tokio::test]
async fn bad_input_is_a_problem_document_with_all_that_is_wrong() {
    let world = World::new().await;
    let token = world.token(Role::Operator).await;
    for (spec, part) in [
        (json!({"condition": "cpu.heat > 60"}), "cannot be used in a rule"),
        (json!({"condition": "cpu.usage_active > 60", "period": "1s"}), "10 s to 24 h"),
        (json!({"condition": "cpu.usage_active > 60", "period": "soon"}), "unreadable"),
        (json!({"condition": "cpu.usage_active > 60", "clear": "70"}), "good side"),
        (json!({"condition": "cpu.usage_active > 60", "source_hosts": ["h9"]}), "no host `h9`"),
        (json!({"condition": "cpu.usage_active > 60", "typo": 1}), "unknown field"),
        (json!({}), "missing field"),
    ] {
        let rule = json!({"name": "r", "spec": spec});
        let (status, answer) =
            world.call("POST", "/v1/rules", Some(&token), Some(rule.clone())).await;
        assert!(status.is_client_error(), "{rule}: {status}");
        assert!(answer["detail"].as_str().unwrap_or_default().contains(part), "{rule}: {answer}");
        assert!(answer["type"].as_str().unwrap_or_default().starts_with("urn:drover:problem:"));
    }
    let (_, rules) = world.call("GET", "/v1/rules", Some(&token), None).await;
    assert_eq!(rules["items"], json!([]), "nothing of it is kept");
}

#[tokio::test]
async fn a_join_token_is_good_for_one_host() {
    let world = World::new().await;
    let admin = world.token(Role::Admin).await;
    let (_, join) = world.call("POST", "/v1/hosts/tokens", Some(&admin), None).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    let csr = csr.serialize_request(&key).unwrap().pem().unwrap();
    let request = |host: &str, name: &str| json!({"token": join["token"], "host_id": host, "host_name": name, "addresses": [], "csr_pem": csr});
    let first = request("00000000-0000-4000-8000-000000000001", "h1");
    let (status, answer) = world.call("POST", "/v1/agents/enroll", None, Some(first)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert!(answer["certificate_pem"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
    let second = request("00000000-0000-4000-8000-000000000002", "h2");
    let (status, answer) = world.call("POST", "/v1/agents/enroll", None, Some(second)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
    assert!(answer["hint"].as_str().unwrap().contains("drover host token"));
}

#[tokio::test]
async fn history_is_read_page_by_page() {
    let world = World::new().await;
    let token = world.token(Role::Viewer).await;
    let now = world.api.clock.now();
    let host = drover_testkit::host(1, 8.0, 64);
    // Two points of each guest and second: more than one page may have.
    let seconds = 9_000;
    let ids: Vec<u128> = (1..=13).collect();
    world
        .update(|txn| {
            txn.put(HostRecord { host: host.clone(), disturbed: None });
            for n in &ids {
                let guest = drover_testkit::guest(*n, 1, 1024);
                txn.put(GuestRecord { guest, last_moved: None, absent: false });
            }
        })
        .await;
    let points = ids.iter().flat_map(|n| {
        (0..seconds).map(move |second| SamplePoint {
            entity: Entity::Guest(drover_testkit::guest_id(*n)),
            at: now.minus(Duration::from_secs(second)),
            values: vec![(Metric::GuestCpuCores, *n as f64), (Metric::GuestResident, 1e9)],
        })
    });
    world.api.history.append(points.collect()).await.unwrap();
    let page = async |query: &str| {
        let path = format!("/v1/history?{query}");
        world.call_for("GET", &path, Some(&token), None, 64 << 20).await
    };
    let (status, first) = page("since=1d&resolution=full").await;
    assert_eq!(status, StatusCode::OK, "{}", first["detail"]);
    let items = first["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["kind"]), (13, &json!("host")), "12 guests and the host");
    assert_eq!(items[1]["series"][0]["at_ms"].as_array().unwrap().len(), 9_000);
    let next = first["next"].as_str().unwrap();
    let (_, last) = page(&format!("since=1d&resolution=full&after={next}")).await;
    assert_eq!(last["items"][0]["name"], "vm13");
    assert_eq!(last["items"][0]["series"][0]["mean"][0], 13.0);
    assert_eq!((&last["next"], last["items"].as_array().unwrap().len()), (&json!(null), 1));
    for (query, part) in [
        ("since=soon", "number"),
        ("since=400d", "366 days"),
        ("since=1d&from_ms=5", "either"),
        ("from_ms=9&to_ms=5", "ends before"),
        ("after=x", "no page after"),
        ("resolution=2m", "2m"),
    ] {
        let (status, answer) = page(query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(part), "{query}: {answer}");
        assert!(answer["hint"].is_string(), "{answer}");
    }
}

/// Every field that takes a span of time takes the same spans and says the same of others.
#[tokio::test]
async fn every_span_of_time_is_read_alike() {
    let (world, _) = crate::balance::uneven().await;
    let token = world.token(Role::Operator).await;
    let rule = |field: &str, span: &str| {
        let mut spec = json!({"condition": "cpu.usage_active > 60"});
        spec[field] = span.into();
        json!({"name": "hot", "spec": spec})
    };
    let with = |mut body: Value, field: &str, span: &str| {
        body[field] = span.into();
        Some(body)
    };
    let balance = json!({"level": 3, "interval": "5m"});
    let power = json!({"level": 1});
    let cap = json!({"hosts": ["h1"], "watts": 100.0});
    let preview = json!({"goal": {"for": "balance", "level": 3}});
    for (method, path, field, body) in [
        ("PUT", "/v1/policies/balance", "interval", &balance),
        ("PUT", "/v1/policies/balance", "hold", &balance),
        ("PUT", "/v1/policies/balance", "horizon", &balance),
        ("PUT", "/v1/policies/power", "min_on", &power),
        ("PUT", "/v1/policies/power", "min_off", &power),
        ("PUT", "/v1/policies/power-caps/rack", "window", &cap),
        ("PATCH", "/v1/hosts/h1/power", "pause", &json!({})),
        ("PATCH", "/v1/hosts/h1/power", "deadline", &json!({})),
        ("POST", "/v1/plans/preview", "period", &preview),
        ("POST", "/v1/rules", "period", &json!(null)),
        ("PATCH", "/v1/rules/hot", "period", &json!({})),
        ("PATCH", "/v1/rules/hot", "cooldown", &json!({})),
        ("GET", "/v1/history?since=", "since", &json!(null)),
        ("GET", "/v1/hosts/h1/metrics/cpu.usage_active?since=", "since", &json!(null)),
    ] {
        let ask = async |span: &str| {
            let body = match (method, path) {
                ("GET", _) => None,
                (_, "/v1/rules") => Some(rule(field, span)),
                _ => with(body.clone(), field, span),
            };
            let in_path = span.replace(' ', "%20");
            let path = if method == "GET" { format!("{path}{in_path}") } else { path.to_owned() };
            world.call(method, &path, Some(&token), body).await
        };
        let (status, answer) = ask("1 fortnight").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {field}: {answer}");
        let said = answer["detail"].as_str().unwrap();
        let alike = format!("the {field} `1 fortnight` is unreadable");
        assert!(said.starts_with(&alike), "{path} {field}: {answer}");
        let (status, answer) = ask("1m30s").await;
        assert!(status.is_success(), "{path} {field}: {answer}");
    }
}
