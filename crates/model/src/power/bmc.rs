//! A host's baseboard management controller (BMC), without what must stay secret.

use serde::{Deserialize, Serialize};

/// How a BMC is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BmcProtocol {
    /// IPMI 2.0 over LAN (RMCP+).
    Ipmi,
    /// DMTF Redfish over HTTPS.
    Redfish,
}

impl BmcProtocol {
    /// The word users see and write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipmi => "ipmi",
            Self::Redfish => "redfish",
        }
    }

    /// The port it is reached at where none is given.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Ipmi => 623,
            Self::Redfish => 443,
        }
    }
}

/// How a Redfish service proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum BmcTls {
    /// By a certificate of an authority that the controller's system trusts.
    #[default]
    System,
    /// By this certificate and no other: SHA-256 of its DER form, 64 hex digits.
    Pinned {
        /// The digest.
        sha256: String,
    },
    /// Not at all: plain HTTP, for closed networks only; the password is readable there.
    Plain,
}

/// Where a BMC is and how it is spoken to. Its password is kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcAddress {
    /// How.
    pub protocol: BmcProtocol,
    /// IP address or name.
    pub host: String,
    /// UDP (IPMI) or TCP (Redfish) port.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// IPMI: cipher suite; none means 17, and 3 where the BMC does not know it.
    pub cipher_suite: Option<u8>,
    /// Redfish: which of the service's systems; none means its only one.
    pub system: Option<String>,
    /// Redfish: how the service proves who it is.
    #[serde(default)]
    pub tls: BmcTls,
}

/// An address that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the BMC's {what}: {why}")]
pub struct BmcAddressError {
    what: &'static str,
    why: &'static str,
}

/// Longest name of a host (RFC 1035), and of a system or a user, bytes.
const MAX_NAME: usize = 253;
/// IPMI 2.0 keeps 16 bytes of a user's name.
const MAX_IPMI_USER: usize = 16;
/// Cipher suites that encrypt; the others send the session in clear, or anybody may log in.
const ENCRYPTED_SUITES: [u8; 4] = [3, 8, 12, 17];

impl BmcAddress {
    /// What is wrong with it, before anybody is asked.
    pub fn check(&self) -> Result<(), BmcAddressError> {
        let wrong = |what, why| Err(BmcAddressError { what, why });
        if !is_host(&self.host) {
            return wrong("host", "write an IP address or a name, without scheme and port");
        }
        if self.port == 0 {
            return wrong("port", "it is 1 to 65535");
        }
        if !is_name(&self.user) || self.user.contains(':') {
            return wrong("user", "1 to 253 bytes, no control characters and no colon");
        }
        if self.protocol == BmcProtocol::Ipmi && self.user.len() > MAX_IPMI_USER {
            return wrong("user", "IPMI has at most 16 bytes for it");
        }
        if self.cipher_suite.is_some_and(|suite| !ENCRYPTED_SUITES.contains(&suite)) {
            return wrong("cipher suite", "take 17 or 3 (or 8, 12): the others do not encrypt");
        }
        if self.system.as_deref().is_some_and(|system| !is_name(system)) {
            return wrong("system", "1 to 253 bytes, no control characters");
        }
        match &self.tls {
            BmcTls::Pinned { sha256 } if !is_digest(sha256) => {
                wrong("pinned certificate", "a SHA-256 digest has 64 hex digits")
            }
            _ => Ok(()),
        }
    }
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len())
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.parse::<std::net::IpAddr>().is_ok()
        || (text.len() <= MAX_NAME && text.split('.').all(is_label))
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a machine is switched on, by the word of its BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    /// Main power is on.
    On,
    /// Main power is off: nothing runs.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> BmcAddress {
        BmcAddress {
            protocol: BmcProtocol::Ipmi,
            host: "bmc-h1.example.org".to_owned(),
            port: 623,
            user: "drover".to_owned(),
            cipher_suite: None,
            system: None,
            tls: BmcTls::System,
        }
    }

    #[test]
    fn what_can_be_meant_is_taken() {
        for host in ["192.0.2.7", "2001:db8::7", "bmc1", "bmc_1.lan"] {
            let address = BmcAddress { host: host.to_owned(), ..address() };
            assert_eq!(address.check(), Ok(()), "{host}");
        }
        let tls = BmcTls::Pinned { sha256: "0a".repeat(32) };
        let address = BmcAddress { cipher_suite: Some(3), tls, ..address() };
        assert_eq!(address.check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |change: fn(&mut BmcAddress)| {
            let mut address = address();
            change(&mut address);
            assert!(address.check().is_err(), "{address:?}");
        };
        for host in ["", "-H", "https://bmc1", "bmc1:623", "a b", "[::1]", "a..b", "bmc1/x"] {
            let address = BmcAddress { host: host.to_owned(), ..address() };
            assert!(address.check().is_err(), "{host}");
        }
        refused(|address| address.port = 0);
        refused(|address| address.user = String::new());
        refused(|address| address.user = "a:b".to_owned());
        refused(|address| address.user = "a\n".to_owned());
        refused(|address| address.user = "a".repeat(17));
        refused(|address| address.cipher_suite = Some(0));
        refused(|address| address.system = Some(String::new()));
        refused(|address| address.tls = BmcTls::Pinned { sha256: "ab:cd".to_owned() });
    }
}
