//! Joining, against a controller that answers over TLS.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_server::tls_rustls::RustlsConfig;
use drover_agent::config::Config;
use drover_agent::identity::Identity;
use drover_agent::join::libvirt_pki::Existing;
use drover_agent::join::token::JoinToken;
use drover_agent::join::{JoinRequest, Joined, join};
use drover_api::v1::{CaCertificate, EnrollRequest, EnrollResponse};
use drover_api::{Problem, ProblemKind};
use support::HOST;
use support::hypervisor::Scripted;
use support::pki::Pki;

type Requests = Arc<Mutex<Vec<EnrollRequest>>>;

/// `server` is who answers; `announced` is whose CA it shows.
async fn controller(server: Arc<Pki>, announced: Arc<Pki>, refuse: bool) -> (SocketAddr, Requests) {
    support::install_tls_provider();
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let (certificate, key) = server.issue("controller", &["127.0.0.1"]);
    let ca_pem = announced.ca_pem();
    let enroll = move |Json(request): Json<EnrollRequest>| async move {
        seen.lock().unwrap().push(request.clone());
        if refuse {
            let problem = Problem::new(ProblemKind::Unauthenticated, "the token is used up")
                .hint("make a new one");
            let status = StatusCode::from_u16(problem.status).unwrap();
            return Err((status, Json(problem)));
        }
        Ok(Json(EnrollResponse {
            certificate_pem: server.sign(&request.csr_pem, &request.host_id),
            ca_pem: server.ca_pem(),
            agent_url: "https://127.0.0.1:7441".to_owned(),
        }))
    };
    let app = Router::new()
        .route("/v1/ca", get(move || async move { Json(CaCertificate { ca_pem }) }))
        .route("/v1/agents/enroll", post(enroll));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let tls = RustlsConfig::from_pem(certificate.into(), key.into()).await.unwrap();
    let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
    tokio::spawn(server.serve(app.into_make_service()));
    (address, requests)
}

async fn try_join(
    address: SocketAddr,
    fingerprint: &str,
    directory: &Path,
    existing: Existing,
) -> anyhow::Result<Joined> {
    let request = JoinRequest {
        controller_url: format!("https://{address}/"),
        token: JoinToken::parse(&format!("drv1_id_secret_{fingerprint}")).unwrap(),
        name: Some("rack1-h7".to_owned()),
        libvirt_pki: Some(directory.join("pki")),
        existing,
    };
    let state = directory.join("state");
    let config = Config::parse(&format!("state_dir = \"{}\"", state.display())).unwrap();
    join(&request, &config, &*Scripted::new()).await
}

#[tokio::test]
async fn joining_stores_an_identity_that_the_ca_has_signed() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Arc::new(Pki::new());
    let (address, requests) = controller(pki.clone(), pki.clone(), false).await;
    let fingerprint = pki.ca_sha256();
    let joined = try_join(address, &fingerprint, directory.path(), Existing::Keep).await.unwrap();
    assert_eq!(joined.card.host_name, "rack1-h7");
    assert_eq!(joined.written.len(), 10);

    let request = requests.lock().unwrap()[0].clone();
    assert_eq!(request.host_id, HOST.to_string());
    assert_eq!(request.addresses, ["127.0.0.1", "h1"]);
    assert!(request.token.ends_with(&fingerprint));

    let state = directory.path().join("state");
    let identity = Identity::load(&state).unwrap();
    assert_eq!(identity.card, joined.card);
    assert_eq!(identity.ca_pem, pki.ca_pem());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state.join("identity/key.pem")), 0o600);
    assert_eq!(mode(&directory.path().join("pki/libvirt/private/serverkey.pem")), 0o600);

    let again = try_join(address, &fingerprint, directory.path(), Existing::Keep).await.unwrap();
    assert_eq!((again.written.len(), again.kept.len()), (0, 5));
    let again = try_join(address, &fingerprint, directory.path(), Existing::Replace).await.unwrap();
    assert_eq!((again.written.len(), again.kept.len()), (5, 0));
}

#[tokio::test]
async fn a_stranger_never_sees_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let (right, wrong) = (Arc::new(Pki::new()), Arc::new(Pki::new()));
    // It shows its own CA: the fingerprint differs.
    let (address, requests) = controller(wrong.clone(), wrong.clone(), false).await;
    let error =
        try_join(address, &right.ca_sha256(), directory.path(), Existing::Keep).await.unwrap_err();
    assert!(format!("{error:#}").contains("is not the one that made this token"), "{error:#}");
    assert!(requests.lock().unwrap().is_empty());
    // It shows the right CA but has no certificate of it.
    let (address, requests) = controller(wrong, right.clone(), false).await;
    let error =
        try_join(address, &right.ca_sha256(), directory.path(), Existing::Keep).await.unwrap_err();
    assert!(format!("{error:#}").contains("cannot enrol"), "{error:#}");
    assert!(requests.lock().unwrap().is_empty());
    assert!(!directory.path().join("state").exists());
}

#[tokio::test]
async fn a_refusal_is_shown_with_kind_and_hint() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Arc::new(Pki::new());
    let (address, _) = controller(pki.clone(), pki.clone(), true).await;
    let error =
        try_join(address, &pki.ca_sha256(), directory.path(), Existing::Keep).await.unwrap_err();
    let text = format!("{error:#}");
    for part in ["not authenticated", "the token is used up", "hint: make a new one"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!directory.path().join("state").exists());
}
