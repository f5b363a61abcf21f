//! Joining a cluster: from a one-time token to a certificate.
//!
//! The token carries the fingerprint of the controller's CA, so nothing is trusted on first
//! use: whoever answers under the controller's address must prove to be it before the token's
//! secret is sent.

mod controller;
pub mod libvirt_pki;
pub mod token;

use std::path::PathBuf;

use anyhow::{Context, Result};
use drover_api::v1::EnrollRequest;
use drover_model::HostId;
use drover_ports::{HostDescription, Hypervisor};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::config::Config;
use crate::describe::first_description;
use crate::identity::{Card, Identity};
use crate::reach;
use controller::Controller;
use libvirt_pki::{Existing, LibvirtPki};
use token::JoinToken;

/// What the administrator asks for.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The controller's public API.
    pub controller_url: String,
    /// The one-time token.
    pub token: JoinToken,
    /// The host's name in the cluster; none takes the one libvirt reports.
    pub name: Option<String>,
    /// Also write libvirt's TLS files below this directory.
    pub libvirt_pki: Option<PathBuf>,
    /// What to do with libvirt TLS files that are there already.
    pub existing: Existing,
}

/// What joining led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Who the host now is.
    pub card: Card,
    /// libvirt TLS files that were written.
    pub written: Vec<PathBuf>,
    /// libvirt TLS files that were there and were left alone; then none was written.
    pub kept: Vec<PathBuf>,
}

/// Joins this host. The token is spent only if everything that can be checked before is well.
pub async fn join(
    request: &JoinRequest,
    config: &Config,
    hypervisor: &dyn Hypervisor,
) -> Result<Joined> {
    let description = first_description(hypervisor).await.with_context(|| {
        format!("cannot ask {} who this host is; is libvirtd running?", config.libvirt_uri)
    })?;
    let host_id = description.id.context("libvirt does not tell this host's UUID")?;
    let host_name = request.name.clone().unwrap_or_else(|| description.hostname.clone());
    let addresses = addresses(config, &description, &request.controller_url);

    let controller = Controller::trust(&request.controller_url, &request.token).await?;
    let key = KeyPair::generate().context("cannot make a key")?;
    let answer = controller
        .enroll(&EnrollRequest {
            token: request.token.text().to_owned(),
            host_id: host_id.to_string(),
            host_name: host_name.clone(),
            addresses: addresses.clone(),
            csr_pem: signing_request(&key, host_id, addresses)?,
        })
        .await?;

    let identity = Identity {
        card: Card { host_id, host_name, agent_url: answer.agent_url },
        key_pem: key.serialize_pem(),
        certificate_pem: answer.certificate_pem,
        ca_pem: controller.ca_pem().to_owned(),
    };
    identity.store(&config.state_dir)?;
    let mut joined = Joined { card: identity.card.clone(), written: Vec::new(), kept: Vec::new() };
    if let Some(root) = &request.libvirt_pki {
        let done = LibvirtPki::below(root).write(&identity, request.existing)?;
        joined.written = done.written;
        joined.kept = done.kept;
    }
    Ok(joined)
}

fn signing_request(key: &KeyPair, host: HostId, addresses: Vec<String>) -> Result<String> {
    let mut params = CertificateParams::new(addresses)
        .context("one of the host's addresses does not fit into a certificate")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, host.to_string());
    let request = params.serialize_request(key).context("cannot make a signing request")?;
    request.pem().context("cannot write the signing request")
}

/// Names and addresses by which other hosts reach this one, without repeats.
fn addresses(config: &Config, description: &HostDescription, controller: &str) -> Vec<String> {
    let reached = reach::address_towards(controller).map(|address| address.to_string());
    let peer = config.peer_uri.as_deref().and_then(reach::uri_host).map(str::to_owned);
    let mut addresses = Vec::new();
    let hostname = (description.hostname.is_ascii() && !description.hostname.is_empty())
        .then(|| description.hostname.clone());
    for address in [config.migration_address.clone(), peer, reached, hostname].into_iter().flatten()
    {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_names_every_way_to_reach_the_host_once() {
        let config = Config::parse(
            "migration_address = \"10.0.0.1\"\npeer_uri = \"qemu+tls://h1.example/system\"",
        )
        .unwrap();
        let description = HostDescription { hostname: "h1".to_owned(), ..Default::default() };
        let found = addresses(&config, &description, "https://127.0.0.1:7440");
        assert_eq!(found, ["10.0.0.1", "h1.example", "127.0.0.1", "h1"]);
    }
}
