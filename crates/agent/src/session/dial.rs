//! The connection: gRPC over mutual TLS, trusting the CA of the join token only.

use std::time::Duration;

use anyhow::{Context, Result};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity};

use crate::identity::Identity;

/// Longest wait for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a silent connection is asked for life, and how long for the answer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Where and how to dial.
pub(super) fn endpoint(identity: &Identity) -> Result<Endpoint> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&identity.ca_pem))
        .identity(TlsIdentity::from_pem(&identity.certificate_pem, &identity.key_pem));
    let url = &identity.card.agent_url;
    let endpoint = Endpoint::from_shared(url.clone())
        .with_context(|| format!("the controller's address `{url}` is wrong"))?
        .tls_config(tls)
        .context("this host's certificate cannot be used; join again")?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

/// Dials.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Channel> {
    endpoint.connect().await.context("cannot connect")
}
