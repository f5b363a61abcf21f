//! How hosts are switched on and off, and what they draw.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A password: taken, never given. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What `PUT /v1/hosts/{host}/bmc` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBmc {
    /// `ipmi` (2.0 over LAN) or `redfish`.
    pub protocol: String,
    /// IP address or name.
    pub address: String,
    /// Default 623 for IPMI, 443 for Redfish.
    #[serde(default)]
    pub port: Option<u16>,
    /// Who logs in.
    pub user: String,
    /// Kept sealed and never shown. May be left out to change the rest of one that is set, at
    /// the same address.
    #[serde(default)]
    pub password: Option<Password>,
    /// IPMI: cipher suite; default 17, and 3 where the BMC does not know it.
    #[serde(default)]
    pub cipher_suite: Option<u8>,
    /// Redfish: which of the service's systems; default its only one.
    #[serde(default)]
    pub system: Option<String>,
    /// Redfish: SHA-256 of the only certificate to trust, 64 hex digits; default the system's
    /// authorities.
    #[serde(default)]
    pub tls_pin: Option<String>,
    /// Redfish: plain HTTP. The password is readable on the network.
    #[serde(default)]
    pub plain: bool,
}

/// A host's BMC, without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostBmc {
    /// Host name.
    pub host: String,
    /// `ipmi` or `redfish`.
    pub protocol: String,
    /// IP address or name.
    pub address: String,
    /// UDP (IPMI) or TCP (Redfish) port.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// Whether a password is set.
    pub password_set: bool,
    /// IPMI: cipher suite, where one was set.
    pub cipher_suite: Option<u8>,
    /// Redfish: system, where one was set.
    pub system: Option<String>,
    /// `system`, `pinned` or `plain`; for IPMI there is none.
    pub tls: Option<String>,
    /// The pinned certificate's SHA-256.
    pub tls_pin: Option<String>,
}

/// What `PATCH /v1/hosts/{host}/power` takes: what is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetHostPower {
    /// Ways to wake it, in order: `bmc`, `wake_on_lan`; empty means all that are known.
    pub methods: Option<Vec<String>>,
    /// Network cards that wake it, as `52:54:00:12:34:56`; empty means those that say that they
    /// do.
    pub macs: Option<Vec<String>>,
    /// Directed broadcast addresses of its networks, as `10.1.0.255`, for when no awake host is
    /// in one of them.
    pub broadcasts: Option<Vec<String>>,
    /// UDP port of magic packets, 7 or 9; 0 means 9.
    pub port: Option<u16>,
    /// SecureOn password of its card: six pairs of hex digits, or four numbers as in 10.0.0.1.
    /// Kept sealed and never shown; empty takes it away.
    pub secure_on: Option<Password>,
    /// Tries of a wake, 1 to 100; 0 means 12.
    pub tries: Option<u32>,
    /// Between two tries, such as `10s`, 1 s to 10 min; empty means 10 s.
    pub pause: Option<String>,
    /// Whether each pause is twice the one before, up to 2 min.
    pub doubling_pauses: Option<bool>,
    /// From the request to the proof that it is of use, such as `5m`, 10 s to 1 h; empty means
    /// 5 min.
    pub deadline: Option<String>,
    /// Whether it is never parked.
    pub keep_awake: Option<bool>,
    /// Who measures what it draws: `agent` or `bmc`.
    pub watts: Option<String>,
}

/// How a host is switched on and off, as in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostPowerSettings {
    /// Ways to wake it that can be used, in order.
    pub methods: Vec<String>,
    /// Network cards that wake it.
    pub macs: Vec<String>,
    /// Directed broadcast addresses.
    pub broadcasts: Vec<String>,
    /// UDP port of magic packets.
    pub port: u16,
    /// Whether a SecureOn password is set.
    pub secure_on_set: bool,
    /// Tries of a wake.
    pub tries: u32,
    /// Between two tries.
    pub pause: String,
    /// Whether each pause is twice the one before.
    pub doubling_pauses: bool,
    /// From the request to the proof.
    pub deadline: String,
    /// Whether it is never parked, by setting or label.
    pub keep_awake: bool,
    /// Who measures what it draws: `agent` or `bmc`.
    pub watts: String,
}

/// What came of a wake, a park or a test of both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerOutcome {
    /// When it ended.
    pub at: Time,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Why it failed; none where it did not.
    pub failure: Option<String>,
}

/// A host's power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostPower {
    /// Host name.
    pub host: String,
    /// `on` (its agent is connected), `unknown`, `parking`, `parked`, `waking` or `wake-failed`.
    pub state: String,
    /// Since when, where it is parked, woken or on its way.
    pub since: Option<Time>,
    /// What is going on, in words.
    pub doing: Option<String>,
    /// Who wanted it so.
    pub cause: Option<String>,
    /// What it draws now, watts.
    pub watts: Option<f64>,
    /// Mean over the last minute.
    pub watts_1m: Option<f64>,
    /// Who measures: `redfish`, `ipmi`, `psys`, `rapl`, `hwmon`, `battery` or `model`.
    pub source: Option<String>,
    /// How far the number may be off, in words.
    pub accuracy: Option<String>,
    /// Why there is no number, where there is none.
    pub no_watts: Option<String>,
    /// Mean of its last five wakes, seconds: the lead that a wake needs.
    pub learned_wake_seconds: Option<f64>,
    /// Whether it was shown that it can be woken, by a test or by a wake after a park, and no wake
    /// has failed since.
    pub wake_tested: bool,
    /// The last wake.
    pub last_wake: Option<PowerOutcome>,
    /// The last park.
    pub last_park: Option<PowerOutcome>,
    /// The last test of both.
    pub last_test: Option<PowerOutcome>,
    /// Its BMC, if one is set.
    pub bmc: Option<HostBmc>,
    /// Settings in force.
    pub settings: HostPowerSettings,
}

/// What `POST /v1/hosts/{host}/park` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParkRequest {
    /// Also when it was never shown that it can be woken.
    pub untested: bool,
    /// Only say what speaks against it.
    pub dry_run: bool,
}

/// What `POST /v1/hosts/{host}/park` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ParkResponse {
    /// What speaks against it; empty unless it was a dry run.
    pub refusals: Vec<ParkRefusal>,
    /// The host's power.
    pub power: HostPower,
}

/// One reason why a host is not parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParkRefusal {
    /// `not-online`, `under-way`, `keep-awake`, `controller`, `no-wake-method`, `untested`,
    /// `out-of-reach`, `min-awake`, `guests` or `survive-failures`.
    pub reason: String,
    /// In words, with its numbers.
    pub text: String,
    /// What to do about it.
    pub cure: String,
}

/// `GET` and `PUT /v1/reserve`: how much of the cluster stays awake. A number that is left out
/// of a `PUT` has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reserve {
    /// Hosts that stay awake, whatever is asked; default 1, 1 to 10,000.
    pub min_awake: Option<u32>,
    /// Hosts that may fail at once without a guest being left without a place on those that
    /// are awake; default 0, at most 8.
    pub survive_failures: Option<u8>,
}
