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

/// No call takes longer, seconds: BMCs answer slowly while they are busy, and a dead one must
/// not hold up what waits for it.
pub const POWER_TIMEOUT_S: u64 = 20;

/// Why it was not done, by what the caller does next. Texts never contain the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PowerError {
    /// The BMC does not answer. Nothing is known about the effect; ask again.
    #[error("the BMC does not answer: {0}")]
    Retry(String),
    /// It refuses the user, the password or the certificate: a person has to look.
    #[error("the BMC refuses the login: {0}")]
    Denied(String),
    /// It cannot do this, and would say so again.
    #[error("the BMC refuses: {0}")]
    Refused(String),
    /// A fault inside: a tool is missing, an answer cannot be read.
    #[error("{0}")]
    Broken(String),
}

impl PowerError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Retry(_) => {
                "is the BMC powered and reachable from the controller (IPMI: UDP 623, Redfish: \
                 TCP 443), and is IPMI over LAN or Redfish switched on in it?"
            }
            Self::Denied(_) => {
                "look at the BMC's user: enabled, this password, privilege operator or more for \
                 IPMI, role Operator for Redfish; where its certificate is not trusted, pin it"
            }
            Self::Refused(_) => "use a function that this BMC has, or update its firmware",
            Self::Broken(_) => "docs/guide/bmc.md tells what has to be installed and set up",
        }
    }
}
