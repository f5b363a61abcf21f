//! The HTTP client that the command line uses.

mod watts;

use std::time::Duration;

use futures::future::ready;
use futures::{Stream, StreamExt as _};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::v1::{self, List, Watch};
use crate::{Problem, ProblemKind};

/// A connection must stand within so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer must be whole within so long; the stream of `watch` has no limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the API is and who calls.
#[derive(Clone, Default)]
pub struct ClientConfig {
    /// `https://HOST:PORT`; plain `http://` only to this machine's loopback.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
    /// The only CA to trust, PEM; without it the system's.
    pub ca_pem: Option<String>,
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The controller says what is wrong.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The controller does not answer.
    #[error("{url} does not answer: {cause}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the network said.
        cause: String,
    },
    /// Somebody answers, and not with a certificate that is trusted.
    #[error("the certificate of {url} is not trusted: {cause}")]
    Untrusted {
        /// Where.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// The answer is not what this version knows.
    #[error("the controller's answer is unreadable: {0}")]
    Unreadable(String),
}

impl ClientError {
    /// The error as a problem document.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Problem(problem) => problem.as_ref().clone(),
            Self::Unreachable { .. } => Problem::new(ProblemKind::Unavailable, self.to_string())
                .hint("is droverd running, and is the URL right? `drover config show`"),
            Self::Untrusted { .. } => Problem::new(ProblemKind::BadRequest, self.to_string())
                .hint("name droverd's ca.crt with --ca-file, DROVER_CA or ca_file, and the host as it is in its --advertise"),
            Self::Config(_) => Problem::new(ProblemKind::BadRequest, self.to_string())
                .hint("set DROVER_URL and DROVER_TOKEN, or write ~/.config/drover/config.toml"),
            Self::Unreadable(_) => Problem::new(ProblemKind::Internal, self.to_string())
                .hint("compare `drover version` with the controller's"),
        }
    }
}

/// Calls the API.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    config: ClientConfig,
}

type Answer<T> = Result<T, ClientError>;

impl Client {
    /// A client for this controller. Needs a TLS provider installed for the process.
    pub fn new(config: ClientConfig) -> Answer<Self> {
        let url = config.url.trim_end_matches('/').to_owned();
        let local = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
        if !url.starts_with("https://") && !local.iter().any(|prefix| url.starts_with(prefix)) {
            return Err(ClientError::Config(format!("`{url}` is not an https:// URL")));
        }
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy();
        if let Some(pem) = &config.ca_pem {
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                return Err(ClientError::Config("the CA is no certificate in PEM".to_owned()));
            }
            let ca = reqwest::Certificate::from_pem(pem.as_bytes())
                .map_err(|error| ClientError::Config(format!("the CA is unreadable: {error}")))?;
            builder = builder.tls_certs_only([ca]);
        }
        let http = builder
            .build()
            .map_err(|error| ClientError::Config(format!("no HTTP client: {error}")))?;
        Ok(Self { http, config: ClientConfig { url, ..config } })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.config.url));
        match &self.config.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Answer<Response> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(ClientError::Unreadable(format!("HTTP status {status}"))),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let (url, cause) = (self.config.url.clone(), cause.to_string());
        if cause.contains("certificate") {
            return ClientError::Untrusted { url, cause };
        }
        ClientError::Unreachable { url, cause }
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Answer<T> {
        let response = self.send(request.timeout(ANSWER_TIMEOUT)).await?;
        response.json().await.map_err(|error| ClientError::Unreadable(error.to_string()))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        self.answer(self.request(Method::GET, path)).await
    }

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Answer<Vec<T>> {
        Ok(self.get::<List<T>>(path).await?.items)
    }

    async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Answer<T> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    async fn delete(&self, path: &str) -> Answer<()> {
        self.send(self.request(Method::DELETE, path).timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    /// `GET /v1/hosts`
    pub async fn hosts(&self) -> Answer<Vec<v1::Host>> {
        self.list("/v1/hosts").await
    }

    /// `GET /v1/hosts/{host}`
    pub async fn host(&self, name: &str) -> Answer<v1::HostDetail> {
        self.get(&format!("/v1/hosts/{}", escaped(name))).await
    }

    /// `POST /v1/hosts/tokens`
    pub async fn join_token(&self) -> Answer<v1::JoinToken> {
        self.answer(self.request(Method::POST, "/v1/hosts/tokens")).await
    }

    /// `GET /v1/guests`
    pub async fn guests(&self) -> Answer<Vec<v1::Guest>> {
        self.list("/v1/guests").await
    }

    /// `GET /v1/guests/{guest}`
    pub async fn guest(&self, name: &str) -> Answer<v1::GuestDetail> {
        self.get(&format!("/v1/guests/{}", escaped(name))).await
    }

    /// `GET /v1/guests/{guest}/policy`
    pub async fn guest_policy(&self, name: &str) -> Answer<v1::GuestPolicy> {
        self.get(&format!("/v1/guests/{}/policy", escaped(name))).await
    }

    /// `PUT /v1/guests/{guest}/policy`
    pub async fn set_guest_policy(
        &self,
        name: &str,
        wanted: &v1::SetGuestPolicy,
    ) -> Answer<v1::GuestPolicy> {
        let path = format!("/v1/guests/{}/policy", escaped(name));
        self.answer(self.request(Method::PUT, &path).json(wanted)).await
    }

    /// `DELETE /v1/guests/{guest}/policy`
    pub async fn unset_guest_policy(&self, name: &str) -> Answer<()> {
        self.delete(&format!("/v1/guests/{}/policy", escaped(name))).await
    }

    /// `GET /v1/guests/{guest}/history`
    pub async fn guest_history(&self, name: &str) -> Answer<Vec<v1::PastMove>> {
        self.list(&format!("/v1/guests/{}/history", escaped(name))).await
    }

    /// `POST /v1/guests/{guest}/migrate`
    pub async fn migrate(
        &self,
        guest: &str,
        request: &v1::MigrateRequest,
    ) -> Answer<v1::MigrateResponse> {
        self.post(&format!("/v1/guests/{}/migrate", escaped(guest)), request).await
    }

    /// `GET /v1/guests/{guest}/check`
    pub async fn check(&self, guest: &str, query: &v1::CheckQuery) -> Answer<v1::GuestCheck> {
        let path = format!("/v1/guests/{}/check", escaped(guest));
        self.answer(self.request(Method::GET, &path).query(query)).await
    }

    /// `GET /v1/baselines`
    pub async fn baselines(&self) -> Answer<Vec<v1::Baseline>> {
        self.list("/v1/baselines").await
    }

    /// `PUT /v1/baselines/{group}`
    pub async fn compute_baseline(
        &self,
        group: &str,
        request: &v1::ComputeBaseline,
    ) -> Answer<v1::Baseline> {
        let path = format!("/v1/baselines/{}", escaped(group));
        self.answer(self.request(Method::PUT, &path).json(request)).await
    }

    /// `POST /v1/baselines/{group}/apply`
    pub async fn apply_baseline(
        &self,
        group: &str,
        request: &v1::ApplyBaseline,
    ) -> Answer<Vec<v1::AppliedCpu>> {
        let path = format!("/v1/baselines/{}/apply", escaped(group));
        Ok(self.post::<_, List<v1::AppliedCpu>>(&path, request).await?.items)
    }

    /// `GET /v1/baselines/{group}/trapped`
    pub async fn trapped(
        &self,
        group: &str,
        query: &v1::TrappedQuery,
    ) -> Answer<Vec<v1::TrappedGuest>> {
        let path = format!("/v1/baselines/{}/trapped", escaped(group));
        let list: List<v1::TrappedGuest> =
            self.answer(self.request(Method::GET, &path).query(query)).await?;
        Ok(list.items)
    }

    /// `POST /v1/migrations`
    pub async fn migrate_several(
        &self,
        request: &v1::MigrateSeveralRequest,
    ) -> Answer<v1::MigrateSeveralResponse> {
        self.post("/v1/migrations", request).await
    }

    /// `PUT /v1/hosts/{host}/maintenance`
    pub async fn drain_host(
        &self,
        host: &str,
        request: &v1::DrainRequest,
    ) -> Answer<v1::DrainResponse> {
        let path = format!("/v1/hosts/{}/maintenance", escaped(host));
        self.answer(self.request(Method::PUT, &path).json(request)).await
    }

    /// `DELETE /v1/hosts/{host}/maintenance`
    pub async fn undrain_host(&self, host: &str) -> Answer<()> {
        self.delete(&format!("/v1/hosts/{}/maintenance", escaped(host))).await
    }

    /// `GET /v1/hosts/{host}/power`
    pub async fn host_power(&self, host: &str) -> Answer<v1::HostPower> {
        self.get(&format!("/v1/hosts/{}/power", escaped(host))).await
    }

    /// `PATCH /v1/hosts/{host}/power`
    pub async fn set_host_power(
        &self,
        host: &str,
        change: &v1::SetHostPower,
    ) -> Answer<v1::HostPower> {
        let path = format!("/v1/hosts/{}/power", escaped(host));
        self.answer(self.request(Method::PATCH, &path).json(change)).await
    }

    /// `GET /v1/hosts/{host}/bmc`
    pub async fn bmc(&self, host: &str) -> Answer<v1::HostBmc> {
        self.get(&format!("/v1/hosts/{}/bmc", escaped(host))).await
    }

    /// `PUT /v1/hosts/{host}/bmc`
    pub async fn set_bmc(&self, host: &str, bmc: &v1::SetBmc) -> Answer<v1::HostBmc> {
        let path = format!("/v1/hosts/{}/bmc", escaped(host));
        self.answer(self.request(Method::PUT, &path).json(bmc)).await
    }

    /// `DELETE /v1/hosts/{host}/bmc`
    pub async fn remove_bmc(&self, host: &str) -> Answer<()> {
        self.delete(&format!("/v1/hosts/{}/bmc", escaped(host))).await
    }

    /// `POST /v1/hosts/{host}/wake`
    pub async fn wake_host(&self, host: &str) -> Answer<v1::HostPower> {
        let path = format!("/v1/hosts/{}/wake", escaped(host));
        self.answer(self.request(Method::POST, &path)).await
    }

    /// `POST /v1/hosts/{host}/park`
    pub async fn park_host(
        &self,
        host: &str,
        request: &v1::ParkRequest,
    ) -> Answer<v1::ParkResponse> {
        self.post(&format!("/v1/hosts/{}/park", escaped(host)), request).await
    }

    /// `POST /v1/hosts/{host}/check-wake`
    pub async fn check_wake(&self, host: &str) -> Answer<v1::HostPower> {
        let path = format!("/v1/hosts/{}/check-wake", escaped(host));
        self.answer(self.request(Method::POST, &path)).await
    }

    /// `GET /v1/reserve`
    pub async fn reserve(&self) -> Answer<v1::Reserve> {
        self.get("/v1/reserve").await
    }

    /// `PUT /v1/reserve`
    pub async fn set_reserve(&self, reserve: &v1::Reserve) -> Answer<v1::Reserve> {
        self.answer(self.request(Method::PUT, "/v1/reserve").json(reserve)).await
    }

    /// `GET /v1/limits`
    pub async fn limits(&self) -> Answer<v1::LimitsInForce> {
        self.get("/v1/limits").await
    }

    /// `PUT /v1/limits`
    pub async fn set_limits(&self, limits: &v1::Limits) -> Answer<v1::LimitsInForce> {
        self.answer(self.request(Method::PUT, "/v1/limits").json(limits)).await
    }

    /// `GET /v1/rules`
    pub async fn rules(&self) -> Answer<Vec<v1::Rule>> {
        self.list("/v1/rules").await
    }

    /// `GET /v1/rules/{rule}`
    pub async fn rule(&self, name: &str) -> Answer<v1::Rule> {
        self.get(&format!("/v1/rules/{}", escaped(name))).await
    }

    /// `POST /v1/rules`
    pub async fn create_rule(&self, rule: &v1::CreateRule) -> Answer<v1::Rule> {
        self.post("/v1/rules", rule).await
    }

    /// `PATCH /v1/rules/{rule}`
    pub async fn update_rule(&self, name: &str, change: &v1::UpdateRule) -> Answer<v1::Rule> {
        let path = format!("/v1/rules/{}", escaped(name));
        self.answer(self.request(Method::PATCH, &path).json(change)).await
    }

    /// `GET /v1/hosts/{host}/metrics/{metric}`
    pub async fn host_series(
        &self,
        host: &str,
        metric: &str,
        query: &v1::SeriesQuery,
    ) -> Answer<v1::Series> {
        let path = format!("/v1/hosts/{}/metrics/{}", escaped(host), escaped(metric));
        self.answer(self.request(Method::GET, &path).query(query)).await
    }

    /// `GET /v1/history`: one page.
    pub async fn history(&self, query: &v1::HistoryQuery) -> Answer<v1::HistoryPage> {
        self.answer(self.request(Method::GET, "/v1/history").query(query)).await
    }

    /// `DELETE /v1/hosts/{host}`
    pub async fn remove_host(&self, name: &str, forget_guests: bool) -> Answer<()> {
        let path = format!("/v1/hosts/{}?forget_guests={forget_guests}", escaped(name));
        self.delete(&path).await
    }

    /// `DELETE /v1/rules/{rule}`
    pub async fn delete_rule(&self, name: &str) -> Answer<()> {
        self.delete(&format!("/v1/rules/{}", escaped(name))).await
    }

    /// `POST /v1/rules/{rule}/test`
    pub async fn test_rule(&self, name: &str) -> Answer<v1::RuleTest> {
        let path = format!("/v1/rules/{}/test", escaped(name));
        self.answer(self.request(Method::POST, &path)).await
    }

    /// `GET /v1/operations`
    pub async fn operations(&self) -> Answer<Vec<v1::Operation>> {
        self.list("/v1/operations").await
    }

    /// `GET /v1/operations/{operation}`
    pub async fn operation(&self, id: &str) -> Answer<v1::Operation> {
        self.get(&format!("/v1/operations/{}", escaped(id))).await
    }

    /// `PATCH /v1/operations/{operation}`
    pub async fn adjust(&self, id: &str, request: &v1::AdjustRequest) -> Answer<v1::Operation> {
        let path = format!("/v1/operations/{}", escaped(id));
        self.answer(self.request(Method::PATCH, &path).json(request)).await
    }

    /// `POST /v1/operations/{operation}/cancel`
    pub async fn cancel(&self, id: &str) -> Answer<v1::Operation> {
        let path = format!("/v1/operations/{}/cancel", escaped(id));
        self.answer(self.request(Method::POST, &path)).await
    }

    /// `GET /v1/plans`
    pub async fn plans(&self) -> Answer<Vec<v1::Plan>> {
        self.list("/v1/plans").await
    }

    /// `GET /v1/plans/{plan}`
    pub async fn plan(&self, id: &str) -> Answer<v1::Plan> {
        self.get(&format!("/v1/plans/{}", escaped(id))).await
    }

    /// `POST /v1/plans/preview`
    pub async fn preview(&self, request: &v1::PreviewRequest) -> Answer<v1::Plan> {
        self.post("/v1/plans/preview", request).await
    }

    /// `POST /v1/plans/{plan}/apply`
    pub async fn apply(&self, id: &str, request: &v1::ApplyRequest) -> Answer<v1::Plan> {
        self.post(&format!("/v1/plans/{}/apply", escaped(id)), request).await
    }

    /// `POST /v1/plans/{plan}/why-not`
    pub async fn why_not(&self, id: &str, request: &v1::WhyNotRequest) -> Answer<v1::WhyNot> {
        self.post(&format!("/v1/plans/{}/why-not", escaped(id)), request).await
    }

    /// `GET /v1/placement-rules`
    pub async fn placement_rules(&self) -> Answer<Vec<v1::PlacementRule>> {
        self.list("/v1/placement-rules").await
    }

    /// `POST /v1/placement-rules`
    pub async fn create_placement_rule(
        &self,
        rule: &v1::CreatePlacementRule,
    ) -> Answer<v1::PlacementRule> {
        self.post("/v1/placement-rules", rule).await
    }

    /// `DELETE /v1/placement-rules/{name}`
    pub async fn delete_placement_rule(&self, name: &str) -> Answer<()> {
        self.delete(&format!("/v1/placement-rules/{}", escaped(name))).await
    }

    /// `PATCH /v1/hosts/{host}/labels`
    pub async fn label_host(
        &self,
        host: &str,
        change: &v1::UpdateLabels,
    ) -> Answer<v1::HostLabels> {
        let path = format!("/v1/hosts/{}/labels", escaped(host));
        self.answer(self.request(Method::PATCH, &path).json(change)).await
    }

    /// `GET /v1/policies`
    pub async fn policies(&self) -> Answer<v1::Policies> {
        self.get("/v1/policies").await
    }

    /// `PUT /v1/policies/balance`
    pub async fn set_balance(&self, policy: &v1::SetBalance) -> Answer<v1::BalancePolicy> {
        self.answer(self.request(Method::PUT, "/v1/policies/balance").json(policy)).await
    }

    /// `DELETE /v1/policies/balance`
    pub async fn unset_balance(&self) -> Answer<()> {
        self.delete("/v1/policies/balance").await
    }

    /// `PUT /v1/policies/power`
    pub async fn set_power(&self, policy: &v1::SetPower) -> Answer<v1::PowerPolicy> {
        self.answer(self.request(Method::PUT, "/v1/policies/power").json(policy)).await
    }

    /// `DELETE /v1/policies/power`
    pub async fn unset_power(&self) -> Answer<()> {
        self.delete("/v1/policies/power").await
    }

    /// `GET /v1/policies/power/decision`
    pub async fn power_decision(&self) -> Answer<v1::PowerDecision> {
        self.get("/v1/policies/power/decision").await
    }

    /// `GET /v1/events`
    pub async fn events(&self, query: &v1::EventQuery) -> Answer<Vec<v1::Event>> {
        let request = self.request(Method::GET, "/v1/events").query(query);
        Ok(self.answer::<List<v1::Event>>(request).await?.items)
    }

    /// `GET /v1/tokens`
    pub async fn tokens(&self) -> Answer<Vec<v1::Token>> {
        self.list("/v1/tokens").await
    }

    /// `POST /v1/tokens`
    pub async fn create_token(&self, token: &v1::CreateToken) -> Answer<v1::CreatedToken> {
        self.post("/v1/tokens", token).await
    }

    /// `DELETE /v1/tokens/{token}`
    pub async fn revoke_token(&self, id: &str) -> Answer<()> {
        self.delete(&format!("/v1/tokens/{}", escaped(id))).await
    }

    /// `POST /v1/agents/enroll`: the join token in the request is the credential.
    pub async fn enroll(&self, request: &v1::EnrollRequest) -> Answer<v1::EnrollResponse> {
        self.post("/v1/agents/enroll", request).await
    }

    /// `GET /v1/version`
    pub async fn version(&self) -> Answer<v1::Version> {
        self.get("/v1/version").await
    }

    /// `GET /v1/watch`: ends when the connection does.
    pub async fn watch(&self) -> Answer<impl Stream<Item = Watch> + Unpin + use<>> {
        let request = self.request(Method::GET, "/v1/watch");
        let response = self.send(request).await?;
        let mut buffer = Vec::new();
        // An error is the end of the connection.
        let whole = response.bytes_stream().take_while(|chunk| ready(chunk.is_ok()));
        let chunks = whole.map(move |chunk| {
            buffer.extend_from_slice(&chunk.unwrap_or_default());
            take_events(&mut buffer)
        });
        Ok(Box::pin(chunks.flat_map(futures::stream::iter)))
    }
}

/// Takes whole server-sent events off the front of `buffer`.
fn take_events(buffer: &mut Vec<u8>) -> Vec<Watch> {
    let mut events = Vec::new();
    while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
        let block: Vec<u8> = buffer.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&block);
        let data: String = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n");
        // A kind that this version does not know is passed over.
        events.extend(serde_json::from_str::<Watch>(&data).ok());
    }
    events
}

/// A path segment.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_whole_and_in_order() {
        let mut buffer = b": ping\n\nevent: lagged\ndata: {\"kind\":\"lagged\",\"data\":{\"dropped\":3}}\n\nevent: x\ndata: {\"ki".to_vec();
        let events = take_events(&mut buffer);
        assert_eq!(events, vec![Watch::Lagged(v1::Lagged { dropped: 3 })]);
        assert!(buffer.starts_with(b"event: x"));
    }

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(escaped("a b/c"), "a%20b%2Fc");
    }
}
