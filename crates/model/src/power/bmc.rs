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

/// Whether a machine is switched on, by the word of its BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    /// Main power is on.
    On,
    /// Main power is off: nothing runs.
    Off,
}
