//! The controller's public API, as far as joining needs it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use drover_api::Problem;
use drover_api::v1::{CaCertificate, EnrollRequest, EnrollResponse};
use reqwest::{Certificate, Client, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::token::JoinToken;
use crate::hex;

/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer that is read, bytes: three PEM documents are some kilobytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A controller that has proven to be the one that made the token.
pub(super) struct Controller {
    url: String,
    client: Client,
    ca_pem: String,
}

impl Controller {
    /// Fetches the CA's certificate, compares it with the token's fingerprint, and from
    /// then on trusts nobody else.
    pub(super) async fn trust(url: &str, token: &JoinToken) -> Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        if !url.starts_with("https://") {
            bail!("the controller's address must begin with https://, not `{url}`");
        }
        // What this client reads is compared with the fingerprint, and no secret is sent by it.
        let unverified = client_builder().tls_danger_accept_invalid_certs(true).build()?;
        let answer = unverified
            .get(format!("{url}/v1/ca"))
            .send()
            .await
            .with_context(|| format!("cannot reach the controller at {url}"))?;
        let answer: CaCertificate =
            read(answer).await.context("the controller's CA certificate")?;
        let der = check_fingerprint(&answer.ca_pem, token.ca_sha256())?;
        let client = client_builder().tls_certs_only([Certificate::from_der(&der)?]).build()?;
        Ok(Self { url, client, ca_pem: answer.ca_pem })
    }

    /// Asks for a certificate. This spends the token.
    pub(super) async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse> {
        let answer = self
            .client
            .post(format!("{}/v1/agents/enroll", self.url))
            .json(request)
            .send()
            .await
            .with_context(|| format!("cannot enrol at {}", self.url))?;
        read(answer).await.context("the controller did not let this host join")
    }

    /// The CA that was proven to be right, PEM.
    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }
}

/// The CA certificate's DER, if it is the one whose fingerprint the token carries.
fn check_fingerprint(ca_pem: &str, expected: &[u8]) -> Result<CertificateDer<'static>> {
    let der = CertificateDer::from_pem_slice(ca_pem.as_bytes())
        .context("the controller's CA certificate is not PEM")?;
    let found = ring::digest::digest(&ring::digest::SHA256, &der);
    if found.as_ref() != expected {
        bail!(
            "the controller's CA is not the one that made this token: its SHA-256 is {}, \
             the token says {}\n\
             hint: check the address; if it is right, somebody may be in between. \
             Nothing secret has been sent",
            hex::encode(found.as_ref()),
            hex::encode(expected),
        );
    }
    Ok(der)
}

fn client_builder() -> reqwest::ClientBuilder {
    // The session is dialled directly, so joining is too: what works here works there.
    Client::builder().no_proxy().timeout(ANSWER_TIMEOUT).redirect(reqwest::redirect::Policy::none())
}

async fn read<T: serde::de::DeserializeOwned>(mut answer: Response) -> Result<T> {
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            bail!("the answer is larger than {MAX_ANSWER_BYTES} bytes");
        }
    }
    if status.is_success() {
        return serde_json::from_slice(&body).context("the answer is not what it should be");
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => bail!("{}", show(&problem)),
        Err(_) => bail!("the controller answered {status}"),
    }
}

fn show(problem: &Problem) -> String {
    let hint = problem.hint.iter().map(|hint| format!("\nhint: {hint}")).collect::<String>();
    format!("{}: {}{hint}", problem.kind.title(), problem.detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_api::ProblemKind;

    #[test]
    fn a_problem_is_shown_with_kind_and_hint() {
        let problem = Problem::new(ProblemKind::Conflict, "the name h1 is taken");
        assert_eq!(show(&problem), "conflict: the name h1 is taken");
        assert_eq!(
            show(&problem.hint("use --name")),
            "conflict: the name h1 is taken\nhint: use --name"
        );
    }
}
