//! A CA and its certificates.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

pub struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let key = KeyPair::generate().unwrap();
        Self { ca: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    pub fn ca_sha256(&self) -> String {
        let sum = ring::digest::digest(&ring::digest::SHA256, self.ca.der());
        sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Certificate and key, PEM.
    pub fn issue(&self, name: &str, addresses: &[&str]) -> (String, String) {
        let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        let mut params = CertificateParams::new(addresses).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Signs a request as the controller does: only its public key is used.
    pub fn sign(&self, csr_pem: &str, name: &str) -> String {
        let request = rcgen::CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.signed_by(&request.public_key, &self.ca).unwrap().pem()
    }
}
