//! One service for the time of a call: requests, the login, and what answers mean.
//!
//! The password goes with each request (HTTP Basic), which every service must know. One
//! that has switched it off says so by a challenge without `Basic`; then a session is
//! made, and ended with the call.

use drover_model::BmcTls;
use drover_ports::{Bmc, PowerError};
use reqwest::header::{LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::redfish::tls::Clients;

/// Largest answer that is read, bytes: the largest resources of known services are below
/// 200 KB.
const MAX_ANSWER: usize = 1 << 20;
/// What is shown of a service's own words, bytes.
const MAX_SHOWN: usize = 200;
/// Where every service begins.
const ROOT: &str = "/redfish/v1/";
/// The header that carries a session.
const SESSION_HEADER: &str = "X-Auth-Token";

pub(super) struct Service<'b> {
    http: Client,
    base: String,
    bmc: &'b Bmc,
    root: Value,
    session: OnceCell<Session>,
}

struct Session {
    token: String,
    /// Where it is ended.
    path: Option<String>,
}

impl<'b> Service<'b> {
    /// Reads the service root, which needs no login.
    pub(super) async fn open(clients: &Clients, bmc: &'b Bmc) -> Result<Self, PowerError> {
        let address = &bmc.address;
        let scheme = if address.tls == BmcTls::Plain { "http" } else { "https" };
        let host = if address.host.contains(':') {
            format!("[{}]", address.host)
        } else {
            address.host.clone()
        };
        let mut service = Self {
            http: clients.of(&address.tls)?,
            base: format!("{scheme}://{host}:{}", address.port),
            bmc,
            root: Value::Null,
            session: OnceCell::new(),
        };
        let request = service.request(Method::GET, ROOT)?;
        let answer = service.checked(send(request).await?).await?;
        service.root = service.json(answer).await?;
        if service.root["RedfishVersion"].is_string() {
            return Ok(service);
        }
        Err(PowerError::Refused("what answers there is no Redfish service".to_owned()))
    }

    pub(super) const fn root(&self) -> &Value {
        &self.root
    }

    /// The system that the operator named.
    pub(super) fn system(&self) -> Option<&str> {
        self.bmc.address.system.as_deref()
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, PowerError> {
        let answer = self.authorized(|| self.request(Method::GET, path)).await?;
        self.json(answer).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<(), PowerError> {
        self.authorized(|| Ok(self.request(Method::POST, path)?.json(body))).await.map(drop)
    }

    /// Ends the session, where one was made. What fails is left to the service's own limit.
    pub(super) async fn close(self) {
        let Some(Session { token, path: Some(path) }) = self.session.get() else { return };
        if let Ok(request) = self.request(Method::DELETE, path) {
            let _ = request.header(SESSION_HEADER, token).send().await;
        }
    }

    /// Sends it with the password, or with a session where the service wants that.
    async fn authorized(
        &self,
        request: impl Fn() -> Result<RequestBuilder, PowerError>,
    ) -> Result<Response, PowerError> {
        if self.session.get().is_none() {
            let (user, password) = (&self.bmc.address.user, self.bmc.password.reveal());
            let answer = send(request()?.basic_auth(user, Some(password))).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || knows_basic(&answer) {
                return self.checked(answer).await;
            }
        }
        let session = self.session.get_or_try_init(|| self.log_in()).await?;
        let answer = send(request()?.header(SESSION_HEADER, &session.token)).await?;
        self.checked(answer).await
    }

    async fn log_in(&self) -> Result<Session, PowerError> {
        let path = link(&self.root["Links"], "Sessions")
            .ok_or_else(|| PowerError::Denied("the user or the password is wrong".to_owned()))?;
        let login = json!({
            "UserName": self.bmc.address.user,
            "Password": self.bmc.password.reveal(),
        });
        let request = self.request(Method::POST, path)?.json(&login);
        let answer = send(request).await?;
        if answer.status() == StatusCode::BAD_REQUEST {
            return Err(PowerError::Denied("the user or the password is wrong".to_owned()));
        }
        let answer = self.checked(answer).await?;
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let token = header(SESSION_HEADER)
            .ok_or_else(|| PowerError::Broken("its session has no token".to_owned()))?;
        // A path, or with scheme and host: then the path of it.
        let place = header(LOCATION.as_str());
        let path = place.and_then(|place| match place.strip_prefix(&self.base) {
            Some(path) => Some(path.to_owned()),
            None => place.starts_with('/').then_some(place),
        });
        Ok(Session { token, path })
    }

    /// A request to this service and no other, whatever an answer linked to.
    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, PowerError> {
        let path = path.split('#').next().unwrap_or_default();
        let own = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
        if !own || path.chars().any(char::is_control) {
            return Err(PowerError::Broken("it links to what is not its own".to_owned()));
        }
        let request = self.http.request(method, format!("{}{path}", self.base));
        Ok(request.header("OData-Version", "4.0").header("Accept", "application/json"))
    }

    /// The answer, or what its status means.
    async fn checked(&self, answer: Response) -> Result<Response, PowerError> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let said = match self.json(answer).await {
            Ok(body) => self.shown(&body, status),
            Err(_) => format!("HTTP {status}"),
        };
        Err(match status {
            StatusCode::UNAUTHORIZED => {
                PowerError::Denied("the user or the password is wrong".to_owned())
            }
            StatusCode::FORBIDDEN => PowerError::Denied(said),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => PowerError::Retry(said),
            StatusCode::NOT_IMPLEMENTED => PowerError::Refused(said),
            status if status.is_server_error() => PowerError::Retry(said),
            _ => PowerError::Refused(said),
        })
    }

    /// The service's own message, without the password should it be there.
    fn shown(&self, body: &Value, status: StatusCode) -> String {
        let error = &body["error"];
        let extended = &error["@Message.ExtendedInfo"][0]["Message"];
        let said = extended.as_str().or_else(|| error["message"].as_str()).unwrap_or_default();
        let said: String = said.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
        let password = self.bmc.password.reveal();
        let said = if password.is_empty() { said } else { said.replace(password, "…") };
        if said.is_empty() { format!("HTTP {status}") } else { said }
    }

    async fn json(&self, mut answer: Response) -> Result<Value, PowerError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| meaning(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(PowerError::Broken(format!("an answer beyond {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body)
            .map_err(|error| PowerError::Broken(format!("an answer that is no JSON: {error}")))
    }
}

/// The path behind a link.
pub(super) fn link<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    match &value[name] {
        Value::String(path) => Some(path),
        linked => linked["@odata.id"].as_str(),
    }
}

/// The paths of a collection's members, or of a list of links.
pub(super) fn members(value: &Value) -> Vec<&str> {
    let listed = value["Members"].as_array().or_else(|| value.as_array());
    let paths = listed.into_iter().flatten().filter_map(|member| member["@odata.id"].as_str());
    paths.collect()
}

/// Whether the login was refused by a service that takes passwords with requests.
fn knows_basic(answer: &Response) -> bool {
    let challenges = answer.headers().get_all(WWW_AUTHENTICATE);
    challenges.iter().any(|challenge| {
        let scheme = challenge.as_bytes().get(..5);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
    })
}

async fn send(request: RequestBuilder) -> Result<Response, PowerError> {
    request.send().await.map_err(|error| meaning(&error))
}

/// A certificate that is not trusted is a person's business; anything else is the network's.
fn meaning(error: &reqwest::Error) -> PowerError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let said = cause.to_string();
    if said.contains("certificate") { PowerError::Untrusted(said) } else { PowerError::Retry(said) }
}
