//! `/v1/hosts/{host}/bmc`: where a host's BMC is. Its password goes in and never comes out.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use drover_api::{Problem, ProblemKind, v1};
use drover_model::{BmcAddress, BmcProtocol, BmcTls, HostId};
use drover_ports::Secret;

use super::Api;
use super::auth::Caller;
use super::reply::{Failed, Reply, bad, missing};
use super::show::find_host;
use crate::events::{Draft, Severity};
use crate::power::{SecretKind, VaultError};
use crate::records::{HostSecretRecord, PowerRecord, Sealed, Tables, Txn};

/// IPMI 2.0 keeps up to 20 bytes of a password.
const IPMI_PASSWORD: usize = 20;
/// Longest password of a Redfish service; far above what any takes.
const REDFISH_PASSWORD: usize = 255;

const EXPLAINED: &str = "docs/guide/wake-and-park.md explains every setting";

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Reply<v1::HostBmc> {
    let tables = api.records.read();
    let host = find_host(&tables, &name).ok_or_else(|| missing("host", &name))?;
    shown(&tables, host).map(Json).ok_or_else(|| no_bmc(&name))
}

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Json<v1::SetBmc>, JsonRejection>,
) -> Reply<v1::HostBmc> {
    // The rejection's own words could repeat what was sent.
    let Json(wanted) = body.map_err(|_| {
        bad("the body is not what is expected here", "GET /v1/openapi.json describes it: SetBmc")
    })?;
    let host = {
        let tables = api.records.read();
        find_host(&tables, &name).ok_or_else(|| missing("host", &name))?
    };
    let address = address(&wanted)?;
    let sealed = match &wanted.password {
        Some(password) => {
            fits(&address, &password.0)?;
            let vault = api.power.bmcs.vault();
            Some(vault.seal(SecretKind::BmcPassword, host, &Secret::new(&password.0))?)
        }
        None => None,
    };
    let now = api.clock.now();
    let stored = address.clone();
    let changed = api
        .records
        .update(|tables| {
            let mut txn = Txn::none();
            if tables.hosts.get(host).is_none() {
                return (txn, Err(missing("host", &name)));
            }
            let known = tables.power.get(host);
            let mut record = known.cloned().unwrap_or_else(|| PowerRecord::new(host, now));
            if sealed.is_none() && !keeps_password(tables, &record, &stored) {
                return (txn, Err(no_password()));
            }
            record.settings.bmc = Some(stored);
            record.ways_change(now);
            txn.change(known, record);
            if let Some(sealed) = sealed {
                txn.change(tables.host_secrets.get(host), secrets(tables, host, sealed));
            }
            (txn, Ok(()))
        })
        .await?;
    changed?;
    api.power.watts.forget(host);
    let shown = shown(&api.records.read(), host).ok_or_else(|| no_bmc(&name))?;
    let text = format!(
        "{} named the BMC of {}: {} at {}:{}",
        caller.name, shown.host, shown.protocol, shown.address, shown.port
    );
    let draft = Draft::new("audit.bmc", Severity::Info, text).host(shown.host.clone());
    api.events.record(draft).await;
    Ok(Json(shown))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failed> {
    let now = api.clock.now();
    let host = api
        .records
        .update(|tables| {
            let mut txn = Txn::none();
            let Some(host) = find_host(tables, &name) else {
                return (txn, Err(missing("host", &name)));
            };
            let known = tables.power.get(host).filter(|record| record.settings.bmc.is_some());
            let Some(before) = known else {
                return (txn, Err(no_bmc(&name)));
            };
            let mut record = before.clone();
            record.settings.bmc = None;
            record.ways_change(now);
            txn.change(before, record);
            if let Some(secrets) = tables.host_secrets.get(host) {
                let left = HostSecretRecord { bmc_password: None, ..secrets.clone() };
                if left.secure_on.is_some() {
                    txn.change(secrets, left);
                } else {
                    txn.delete_secrets_if(tables, host);
                }
            }
            (txn, Ok(host))
        })
        .await??;
    api.power.watts.forget(host);
    let name = api.records.read().host_name(host);
    let text = format!("{} removed the BMC of {name}", caller.name);
    api.events.record(Draft::new("audit.bmc", Severity::Warning, text).host(name)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A host's BMC as users see it.
pub(super) fn shown(tables: &Tables, host: HostId) -> Option<v1::HostBmc> {
    let address = tables.power.get(host)?.settings.bmc.clone()?;
    let secrets = tables.host_secrets.get(host);
    let (tls, tls_pin) = match address.tls {
        _ if address.protocol == BmcProtocol::Ipmi => (None, None),
        BmcTls::System => (Some("system"), None),
        BmcTls::Pinned { sha256 } => (Some("pinned"), Some(sha256)),
        BmcTls::Plain => (Some("plain"), None),
    };
    Some(v1::HostBmc {
        host: tables.host_name(host),
        protocol: address.protocol.as_str().to_owned(),
        address: address.host,
        port: address.port,
        user: address.user,
        password_set: secrets.is_some_and(|secrets| secrets.bmc_password.is_some()),
        cipher_suite: address.cipher_suite,
        system: address.system,
        tls: tls.map(str::to_owned),
        tls_pin,
    })
}

/// A password is for the machine that it was set for: it is not sent to another one.
fn keeps_password(tables: &Tables, record: &PowerRecord, wanted: &BmcAddress) -> bool {
    let secrets = tables.host_secrets.get(record.host);
    let is_set = secrets.is_some_and(|secrets| secrets.bmc_password.is_some());
    let same = record.settings.bmc.as_ref().is_some_and(|bmc| {
        (&bmc.host, bmc.port, bmc.protocol) == (&wanted.host, wanted.port, wanted.protocol)
            && bmc.tls == wanted.tls
    });
    is_set && same
}

fn secrets(tables: &Tables, host: HostId, sealed: Sealed) -> HostSecretRecord {
    let before = tables.host_secrets.get(host).cloned();
    let before = before.unwrap_or(HostSecretRecord { host, bmc_password: None, secure_on: None });
    HostSecretRecord { bmc_password: Some(sealed), ..before }
}

fn address(wanted: &v1::SetBmc) -> Result<BmcAddress, Failed> {
    let protocol = match wanted.protocol.as_str() {
        "ipmi" => BmcProtocol::Ipmi,
        "redfish" => BmcProtocol::Redfish,
        other => {
            return Err(bad(format!("there is no protocol `{other}`"), "it is ipmi or redfish"));
        }
    };
    let redfish = protocol == BmcProtocol::Redfish;
    let only_redfish = wanted.system.is_some() || wanted.tls_pin.is_some() || wanted.plain;
    if !redfish && only_redfish {
        return Err(bad("system, tls_pin and plain are for Redfish", EXPLAINED));
    }
    if redfish && wanted.cipher_suite.is_some() {
        return Err(bad("cipher_suite is for IPMI", EXPLAINED));
    }
    let address = BmcAddress {
        protocol,
        host: wanted.address.clone(),
        port: wanted.port.unwrap_or(protocol.default_port()),
        user: wanted.user.clone(),
        cipher_suite: wanted.cipher_suite,
        system: wanted.system.clone(),
        tls: tls(wanted)?,
    };
    address.check().map_err(|wrong| bad(wrong.to_string(), EXPLAINED))?;
    Ok(address)
}

fn tls(wanted: &v1::SetBmc) -> Result<BmcTls, Failed> {
    match (&wanted.tls_pin, wanted.plain) {
        (Some(_), true) => Err(bad("plain HTTP has no certificate to pin", EXPLAINED)),
        (None, true) => Ok(BmcTls::Plain),
        (None, false) => Ok(BmcTls::System),
        (Some(pin), false) => {
            Ok(BmcTls::Pinned { sha256: pin.replace(':', "").to_ascii_lowercase() })
        }
    }
}

/// Whether a password can be one; says nothing of it.
fn fits(address: &BmcAddress, password: &str) -> Result<(), Failed> {
    let most = match address.protocol {
        BmcProtocol::Ipmi => IPMI_PASSWORD,
        BmcProtocol::Redfish => REDFISH_PASSWORD,
    };
    if password.is_empty() || password.len() > most || password.contains(['\0', '\n', '\r']) {
        let detail = format!("the password must have 1 to {most} bytes, without line breaks");
        return Err(bad(detail, EXPLAINED));
    }
    Ok(())
}

fn no_password() -> Failed {
    let detail = "no password is given, and none is kept for this BMC at this address";
    bad(detail, "give it anew: a password is not sent to another machine than it was set for")
}

fn no_bmc(name: &str) -> Failed {
    let problem = Problem::new(ProblemKind::NotFound, format!("no BMC is set for {name}"));
    Failed(problem.hint(format!("`drover host bmc set {name} --help` tells how to set one")))
}

impl From<VaultError> for Failed {
    fn from(error: VaultError) -> Self {
        Self(
            Problem::new(ProblemKind::Internal, error.to_string())
                .hint("the key of stored passwords is secrets.key in droverd's state directory"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(change: impl FnOnce(&mut v1::SetBmc)) -> v1::SetBmc {
        let mut wanted = v1::SetBmc {
            protocol: "redfish".to_owned(),
            address: "10.0.0.7".to_owned(),
            port: None,
            user: "root".to_owned(),
            password: None,
            cipher_suite: None,
            system: None,
            tls_pin: None,
            plain: false,
        };
        change(&mut wanted);
        wanted
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let word = |text: &str| Some(text.to_owned());
        for (change, part) in [
            (wanted(|of| of.protocol = "ssh".to_owned()), "no protocol `ssh`"),
            (wanted(|of| of.address = "-H".to_owned()), "host"),
            (wanted(|of| of.address = "a b".to_owned()), "host"),
            (wanted(|of| of.port = Some(0)), "port"),
            (wanted(|of| of.user = String::new()), "user"),
            (wanted(|of| of.cipher_suite = Some(3)), "for IPMI"),
            (wanted(|of| of.tls_pin = word("ab")), "64 hex"),
            (
                wanted(|of| {
                    of.tls_pin = Some("ab".repeat(32));
                    of.plain = true;
                }),
                "no certificate",
            ),
            (
                wanted(|of| {
                    of.protocol = "ipmi".to_owned();
                    of.plain = true;
                }),
                "for Redfish",
            ),
            (
                wanted(|of| {
                    of.protocol = "ipmi".to_owned();
                    of.user = "u".repeat(17);
                }),
                "at most 16",
            ),
        ] {
            let said = address(&change).expect_err(part).0.detail;
            assert!(said.contains(part), "{said} / {part}");
        }
        let pinned = wanted(|of| of.tls_pin = Some("AB:".repeat(31) + "AB"));
        let read = address(&pinned).map_err(|_| ()).unwrap();
        assert_eq!(read.tls, BmcTls::Pinned { sha256: "ab".repeat(32) });
        assert_eq!(read.port, 443);
    }
}
