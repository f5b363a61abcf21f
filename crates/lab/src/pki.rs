//! Certificates for libvirt and QEMU: one CA per lab, one certificate per host.

use std::path::Path;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::addresses::host_address;
use crate::tools::write;

/// Writes each host's certificates under `dir/hosts/HOST/pki`, unless they are there.
pub(crate) fn make(dir: &Path, hosts: &[String]) -> anyhow::Result<()> {
    let wanted: Vec<&String> = hosts
        .iter()
        .filter(|host| !dir.join("hosts").join(host).join("pki/CA/cacert.pem").exists())
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let (key_path, ca_path) = (dir.join("pki/ca.key"), dir.join("pki/ca.pem"));
    if !ca_path.exists() {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "Drover lab CA");
        params.not_after = date_time_ymd(2055, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        write(&key_path, &key.serialize_pem())?;
        write(&ca_path, &params.self_signed(&key)?.pem())?;
    }
    let ca_pem = std::fs::read_to_string(&ca_path).context("read the lab's CA")?;
    let key = KeyPair::from_pem(&std::fs::read_to_string(&key_path)?)?;
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, key)?;
    for host in wanted {
        let own = dir.join("hosts").join(host).join("pki");
        let address = host_address(host).context("a host is called h and a number")?;
        let mut params = CertificateParams::new(vec![host.clone(), address])?;
        params.distinguished_name.push(DnType::CommonName, host.as_str());
        params.not_after = date_time_ymd(2055, 1, 1);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let key = key.serialize_pem();
        for role in ["server", "client"] {
            write(&own.join(format!("libvirt/{role}cert.pem")), &certificate)?;
            write(&own.join(format!("libvirt/private/{role}key.pem")), &key)?;
            write(&own.join(format!("qemu/{role}-cert.pem")), &certificate)?;
            write(&own.join(format!("qemu/{role}-key.pem")), &key)?;
        }
        write(&own.join("qemu/ca-cert.pem"), &ca_pem)?;
        write(&own.join("CA/cacert.pem"), &ca_pem)?;
    }
    Ok(())
}
