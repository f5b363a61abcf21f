//! HTTP clients by how a service proves who it is.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use drover_model::BmcTls;
use drover_ports::PowerError;
use reqwest::{Client, ClientBuilder, redirect};
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

/// A connection must stand within so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// An idle connection is kept for the next request of the same call, and hardly longer:
/// BMCs have few.
const IDLE: Duration = Duration::from_secs(5);
/// `/redfish/v1` leads to `/redfish/v1/` with some services; no more is followed.
const MAX_REDIRECTS: usize = 2;

/// Clients that can be shared; one with a pinned certificate is made for each call.
#[derive(Debug, Default)]
pub(super) struct Clients {
    system: OnceLock<Client>,
    plain: OnceLock<Client>,
}

impl Clients {
    pub(super) fn of(&self, tls: &BmcTls) -> Result<Client, PowerError> {
        let kept = match tls {
            BmcTls::Pinned { sha256 } => {
                return build(builder().tls_backend_preconfigured(pinned(sha256)?));
            }
            BmcTls::System if CryptoProvider::get_default().is_none() => {
                return Err(PowerError::Broken("no TLS provider is installed".to_owned()));
            }
            BmcTls::System => &self.system,
            BmcTls::Plain => &self.plain,
        };
        if let Some(client) = kept.get() {
            return Ok(client.clone());
        }
        // A plain client needs no TLS provider either.
        let client = match tls {
            BmcTls::Plain => build(builder().tls_backend_preconfigured(pinned("")?)),
            _ => build(builder()),
        }?;
        Ok(kept.get_or_init(|| client).clone())
    }
}

fn builder() -> ClientBuilder {
    // Never to another host: the password would go there.
    let policy = redirect::Policy::custom(|attempt| {
        let same = attempt.previous().first().is_some_and(|first| {
            let (to, from) = (attempt.url(), first);
            to.origin() == from.origin()
        });
        let far = attempt.previous().len() > MAX_REDIRECTS;
        if same && !far { attempt.follow() } else { attempt.stop() }
    });
    Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .redirect(policy)
}

fn build(builder: ClientBuilder) -> Result<Client, PowerError> {
    builder.build().map_err(|error| {
        // Its own words name no cause.
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text.push_str(&format!(": {next}"));
            cause = next.source();
        }
        PowerError::Broken(format!(
            "no HTTP client: {text}; where no authorities are installed (package \
             ca-certificates), trust the BMC's own certificate: `--tls-pin`"
        ))
    })
}

/// Trusts one certificate, whatever its names and dates.
fn pinned(sha256: &str) -> Result<ClientConfig, PowerError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned { sha256: sha256.to_ascii_lowercase(), provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| PowerError::Broken(format!("no TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
struct Pinned {
    /// Lower-case hex.
    sha256: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = hex(digest(&SHA256, end_entity).as_ref());
        if found == self.sha256 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!("its certificate is not the pinned one but {found}")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
