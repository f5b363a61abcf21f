//! A machine's power, switched and measured from outside: by its BMC.

use std::fmt;

use async_trait::async_trait;
use drover_model::{BmcAddress, PowerReading, PowerState};

/// A password. It is never shown: not by `Debug`, not in an error, not on a command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The password itself: for the one line that hands it over.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A BMC and the right to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmc {
    /// Where.
    pub address: BmcAddress,
    /// The user's password.
    pub password: Secret,
}

/// Switches and measures machines. Every call may be repeated, and ends within
/// [`POWER_TIMEOUT_S`].
#[async_trait]
pub trait Power: Send + Sync {
    /// Whether the machine is on.
    async fn state(&self, bmc: &Bmc) -> Result<PowerState, PowerError>;

    /// Switches it on; nothing happens where it is on. That the call worked says that the BMC
    /// took it, not that the machine is on: ask [`Power::state`].
    async fn switch_on(&self, bmc: &Bmc) -> Result<(), PowerError>;

    /// Cuts its power at once, whatever runs; nothing happens where it is off. That the call
    /// worked does not prove that it is off: ask [`Power::state`].
    async fn switch_off(&self, bmc: &Bmc) -> Result<(), PowerError>;

    /// What it draws; `Refused` where this BMC does not measure.
    async fn reading(&self, bmc: &Bmc) -> Result<PowerReading, PowerError>;
}

/// Measures the machine that it runs on by the BMC of that machine, which needs neither a network
/// nor a password.
#[async_trait]
pub trait OwnBmc: Send + Sync {
    /// Whether the machine has one that can be asked. Looks, and asks nobody.
    fn is_there(&self) -> bool;

    /// What the machine draws; `Refused` where its BMC does not measure. Ends within
    /// [`POWER_TIMEOUT_S`].
    async fn reading(&self) -> Result<PowerReading, PowerError>;
}

/// No call takes longer, seconds: BMCs answer slowly while they are busy, and a dead one must
/// not hold up what waits for it.
pub const POWER_TIMEOUT_S: u64 = 20;

/// What to do about a certificate. It is part of the error's text: that is kept with wakes,
/// parks and readings, and people see nothing else of it.
const PIN_IT: &str = "read its SHA-256 (`openssl s_client -connect ADDRESS:443 </dev/null | openssl \
                      x509 -outform DER | sha256sum`), compare it with what the BMC's own page \
                      shows, and name it: `drover host bmc set` with --tls-pin SHA256 \
                      (docs/guide/bmc.md)";

/// Why it was not done, by what the caller does next. Texts never contain the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PowerError {
    /// The BMC does not answer. Nothing is known about the effect; ask again.
    #[error("the BMC does not answer: {0}")]
    Retry(String),
    /// It refuses the user or the password: a person has to look.
    #[error("the BMC refuses the login: {0}")]
    Denied(String),
    /// Its certificate is not one that is trusted, so nothing was said to it: a person has to
    /// look.
    #[error("the BMC's certificate is not trusted: {0}; {cure}", cure = PIN_IT)]
    Untrusted(String),
    /// It cannot do this, and would say so again.
    #[error("the BMC refuses: {0}")]
    Refused(String),
    /// A fault inside: a tool is missing, an answer cannot be read.
    #[error("{0}")]
    Broken(String),
}

impl PowerError {
    /// Whether asking again is of no use until a person has looked at it: another wrong login
    /// may lock the user out, and a certificate does not become another by itself.
    pub const fn needs_a_person(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Untrusted(_))
    }

    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Retry(_) => {
                "is the BMC powered and reachable from the controller (IPMI: UDP 623, Redfish: \
                 TCP 443), and is IPMI over LAN or Redfish switched on in it?"
            }
            Self::Denied(_) => {
                "look at the BMC's user: enabled, this password, privilege operator or more for \
                 IPMI, role Operator for Redfish"
            }
            Self::Untrusted(_) => PIN_IT,
            Self::Refused(_) => "use a function that this BMC has, or update its firmware",
            Self::Broken(_) => "docs/guide/bmc.md tells what has to be installed and set up",
        }
    }
}
