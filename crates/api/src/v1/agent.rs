//! Joining hosts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What `GET /v1/ca` answers, without credentials: the CA's certificate, which the
/// agent compares with the fingerprint in its join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaCertificate {
    /// PEM.
    pub ca_pem: String,
}

/// What `POST /v1/agents/enroll` takes. The join token is the credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The join token.
    pub token: String,
    /// libvirt's host UUID.
    pub host_id: String,
    /// The host's name, unique in the cluster.
    pub host_name: String,
    /// Names and IP addresses by which other hosts reach it: go into the certificate.
    pub addresses: Vec<String>,
    /// PKCS#10 request, PEM. Only its public key is used.
    pub csr_pem: String,
}

/// What `POST /v1/agents/enroll` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrollResponse {
    /// The agent's certificate, PEM: client and server authentication.
    pub certificate_pem: String,
    /// The controller's CA, PEM.
    pub ca_pem: String,
    /// Where agents dial: `https://ADDRESS:PORT`.
    pub agent_url: String,
}

/// What `GET /v1/version` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Of droverd.
    pub version: String,
    /// API versions that it speaks.
    pub api: Vec<String>,
}
