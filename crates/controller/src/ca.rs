//! The controller's own certificate authority: its server certificate and the agents'.

use std::path::Path;

use anyhow::Context as _;
use drover_model::HostId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::moment::sha256_hex;

/// Certificates made by this CA are good until this year: they are revoked by
/// fingerprint, not by age.
const LAST_YEAR: i32 = 2055;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    fingerprint: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct ServerIdentity {
    /// Certificate.
    pub certificate_pem: String,
    /// Private key.
    pub key_pem: String,
}

impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerIdentity").finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads the CA from `dir`, or makes it there.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let (key_path, certificate_path) = (dir.join("ca.key"), dir.join("ca.crt"));
        if !certificate_path.exists() {
            let (key, certificate) = new_ca().context("make the certificate authority")?;
            crate::files::write_private(&key_path, key.as_bytes())?;
            crate::files::write_public(&certificate_path, certificate.as_bytes())?;
        }
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        };
        let certificate_pem = read(&certificate_path)?;
        let key = KeyPair::from_pem(&read(&key_path)?).context("read the CA's key")?;
        let fingerprint = sha256_hex(&der_of(&certificate_pem)?);
        let issuer =
            Issuer::from_ca_cert_pem(&certificate_pem, key).context("read the CA's certificate")?;
        Ok(Self { issuer, certificate_pem, fingerprint })
    }

    /// The CA's certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// SHA-256 of the CA's certificate (DER), hex: part of every join token.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A fresh server certificate for these names and addresses.
    pub fn server(&self, names: &[String]) -> anyhow::Result<ServerIdentity> {
        let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        all.extend(names.iter().filter(|name| !all.contains(name)).cloned().collect::<Vec<_>>());
        let mut params = CertificateParams::new(all).context("names for the certificate")?;
        params.distinguished_name.push(DnType::CommonName, "droverd");
        params.not_after = date_time_ymd(LAST_YEAR, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerIdentity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Signs an agent's key. Only the public key of the request is used; the name and
    /// addresses are the controller's decision. Returns the certificate (PEM) and its
    /// fingerprint.
    pub fn agent(
        &self,
        csr_pem: &str,
        host: HostId,
        addresses: &[String],
    ) -> anyhow::Result<(String, String)> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .context("the certificate request is unreadable")?;
        let mut params =
            CertificateParams::new(addresses.to_vec()).context("an address is malformed")?;
        params.distinguished_name.push(DnType::CommonName, host.to_string());
        params.not_after = date_time_ymd(LAST_YEAR, 1, 1);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok((certificate.pem(), sha256_hex(certificate.der())))
    }
}

fn new_ca() -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "Drover CA");
    params.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((key.serialize_pem(), certificate.pem()))
}

fn der_of(pem: &str) -> anyhow::Result<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())
        .context("the CA's PEM is unreadable")?
        .to_vec())
}
