//! How a host is switched on and off, where that is going, and what came of it.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use drover_lifecycle::power::{OffProof, Park, Pauses, Wake, WakeFailure, WakeTimes};
use drover_model::{BmcAddress, HostId, MacAddress, Timestamp, WakeMethod};
use serde::{Deserialize, Serialize};

use super::{Cause, PolicyName};

/// Who measures what a host draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WattsFrom {
    /// Its agent, by the best source that it has.
    #[default]
    Agent,
    /// Its BMC, which the controller asks.
    Bmc,
}

/// What an operator says of a host's power. What is none or empty is as by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PowerSettings {
    /// Its BMC; the password is a [`HostSecretRecord`].
    pub bmc: Option<BmcAddress>,
    /// Ways to wake it, in order; empty means all that are known.
    pub methods: Vec<WakeMethod>,
    /// Network cards that wake it; empty means those that say that they do.
    pub macs: Vec<MacAddress>,
    /// Directed broadcast addresses of networks that no awake host is in.
    pub broadcasts: Vec<Ipv4Addr>,
    /// UDP port of magic packets; none means 9.
    pub port: Option<u16>,
    /// Tries of a wake.
    pub tries: Option<u32>,
    /// Between two tries.
    pub pause: Option<Duration>,
    /// Whether pauses grow.
    pub pauses: Pauses,
    /// From the request to the proof.
    pub deadline: Option<Duration>,
    /// It is never parked.
    pub keep_awake: bool,
    /// Who measures what it draws.
    pub watts: WattsFrom,
}

/// What a host had before it was switched off, and must have again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Belongings {
    /// Names of storage pools that were started.
    pub pools: Vec<String>,
    /// Kind and name of networks that were up, as `bridge br0`.
    pub networks: Vec<String>,
}

/// Where a host's power is going.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerPhase {
    /// Nowhere: it is what its agent says.
    #[default]
    Settled,
    /// It is being switched off.
    Parking(Park),
    /// It was switched off, and was proven to be.
    Parked(OffProof),
    /// It is being woken.
    Waking(Wake),
    /// It was to be woken and is not of use.
    WakeFailed(WakeFailure),
}

impl PowerPhase {
    /// The word users see.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Parking(_) => "parking",
            Self::Parked(_) => "parked",
            Self::Waking(_) => "waking",
            Self::WakeFailed(_) => "wake-failed",
        }
    }
}

/// What came of a wake, a park or a test of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerOutcome {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Why it failed; none where it did not.
    pub failure: Option<String>,
    /// Of a park: what says that the host is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<OffProof>,
}

/// A host's power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PowerRecord {
    /// The host.
    pub host: HostId,
    /// What an operator says.
    #[serde(default)]
    pub settings: PowerSettings,
    /// Where it is going.
    #[serde(default)]
    pub phase: PowerPhase,
    /// Since when.
    pub since: Timestamp,
    /// Who wanted it so.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// What it had when it was last of use; none while nothing is compared.
    #[serde(default)]
    pub belongings: Option<Belongings>,
    /// The drain that a park began, by its beginning: it ends when the host is awake again.
    #[serde(default)]
    pub drain: Option<Timestamp>,
    /// The park that is under way, and the wake after it, are a test that began then.
    #[serde(default)]
    pub testing: Option<Timestamp>,
    /// What its last wakes took.
    #[serde(default)]
    pub wake_times: WakeTimes,
    /// The last wake.
    #[serde(default)]
    pub last_wake: Option<PowerOutcome>,
    /// The last park.
    #[serde(default)]
    pub last_park: Option<PowerOutcome>,
    /// The last test.
    #[serde(default)]
    pub last_test: Option<PowerOutcome>,
    /// The park that is under way is to end, since the host is needed: who says so.
    #[serde(default)]
    pub called_back: Option<Cause>,
    /// The wake that is under way is of a host that was parked before.
    #[serde(default)]
    pub from_park: bool,
    /// When a wake of the parked host was last proven, by the ways that are set.
    #[serde(default)]
    pub wake_shown: Option<Timestamp>,
    /// When the ways to wake it were last changed: a wake that had begun shows nothing of them.
    #[serde(default)]
    pub ways_changed: Option<Timestamp>,
}

impl PowerRecord {
    /// A host of which nobody has said anything.
    pub fn new(host: HostId, now: Timestamp) -> Self {
        Self {
            host,
            settings: PowerSettings::default(),
            phase: PowerPhase::Settled,
            since: now,
            cause: None,
            belongings: None,
            drain: None,
            testing: None,
            wake_times: WakeTimes::default(),
            last_wake: None,
            last_park: None,
            last_test: None,
            called_back: None,
            from_park: false,
            wake_shown: None,
            ways_changed: None,
        }
    }

    /// Whether it was shown that the host can be woken: its last test passed, or it was woken
    /// after a park, and no wake has failed since. Either has proven the same.
    pub fn is_tested(&self) -> bool {
        let test = self.last_test.as_ref().filter(|test| test.failure.is_none());
        test.map(|test| test.at).max(self.wake_shown).is_some_and(|shown| {
            let failed = self.last_wake.as_ref().filter(|wake| wake.failure.is_some());
            failed.is_none_or(|wake| wake.at <= shown)
        })
    }

    /// The ways to wake it are others from now on: what was shown says nothing of them.
    pub fn ways_change(&mut self, now: Timestamp) {
        self.last_test = None;
        self.wake_shown = None;
        self.ways_changed = Some(now);
    }

    /// Whether its park can be ended for this cause without a doubt that it stays on. What the power
    /// policy began it or a rule may end; what a person began a person may.
    pub fn can_be_called_back(&self, by: &Cause) -> bool {
        let PowerPhase::Parking(park) = &self.phase else { return false };
        let own = matches!(&self.cause, Some(Cause::Policy { name: PolicyName::Power }));
        let may = matches!(by, Cause::Request { .. }) || (own && self.testing.is_none());
        may && self.called_back.is_none() && park.can_be_called_back()
    }

    /// Whether its last wake failed, or it may still switch off.
    pub const fn has_failed(&self) -> bool {
        matches!(self.phase, PowerPhase::WakeFailed(_))
            || (matches!(self.phase, PowerPhase::Settled) && self.drain.is_some())
    }

    /// It is used as it is: what it had is not asked for any more.
    #[must_use]
    pub fn given_up(self) -> Self {
        Self { phase: PowerPhase::Settled, belongings: None, drain: None, ..self }
    }

    /// Whether its silence is as it should be: it is off, on its way there or back.
    pub const fn explains_silence(&self) -> bool {
        use drover_lifecycle::power::ParkState as P;
        match &self.phase {
            PowerPhase::Settled => false,
            PowerPhase::Parking(park) => !matches!(park.state, P::Draining),
            PowerPhase::Parked(_) | PowerPhase::Waking(_) | PowerPhase::WakeFailed(_) => true,
        }
    }
}

/// A secret as it is stored: ChaCha20-Poly1305 under the key of `secrets.key`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// 12 random bytes, hex.
    pub nonce: String,
    /// Cipher text and tag, hex.
    pub sealed: String,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// What of a host's power is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSecretRecord {
    /// The host.
    pub host: HostId,
    /// The password of its BMC.
    #[serde(default)]
    pub bmc_password: Option<Sealed>,
    /// The password of its network card.
    #[serde(default)]
    pub secure_on: Option<Sealed>,
}

/// How much of the cluster must stay awake: one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveRecord {
    /// Hosts that stay awake, whatever is asked.
    pub min_awake: u32,
    /// Hosts that may fail at once without a guest being left without a place.
    pub survive_failures: u8,
}

impl Default for ReserveRecord {
    /// One, which the controller's guests and wake packets need, and no failures: two hosts of
    /// which one sleeps are what this is for.
    fn default() -> Self {
        Self { min_awake: 1, survive_failures: 0 }
    }
}

/// There is one reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReserveName {
    /// Of the cluster.
    Cluster,
}

impl fmt::Display for ReserveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cluster")
    }
}

impl FromStr for ReserveName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cluster" => Ok(Self::Cluster),
            other => Err(format!("there is no reserve `{other}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use drover_testkit::host_id;

    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::EPOCH.plus(Duration::from_secs(second))
    }

    fn outcome(second: u64, failure: Option<&str>) -> PowerOutcome {
        PowerOutcome {
            at: at(second),
            took_ms: 1,
            failure: failure.map(str::to_owned),
            proof: None,
        }
    }

    #[test]
    fn a_test_or_a_wake_after_a_park_shows_it_until_a_wake_fails_or_the_ways_change() {
        let new = || PowerRecord::new(host_id(1), at(0));
        assert!(!new().is_tested());
        let test = PowerRecord { last_test: Some(outcome(5, None)), ..new() };
        let woken = PowerRecord { wake_shown: Some(at(5)), ..new() };
        let both = PowerRecord { last_test: Some(outcome(2, Some("x"))), ..woken.clone() };
        for shown in [test, woken, both] {
            assert!(shown.is_tested(), "{shown:?}");
            for (last, expected) in [
                (outcome(4, Some("dark")), true),
                (outcome(6, None), true),
                (outcome(6, Some("dark")), false),
            ] {
                let record = PowerRecord { last_wake: Some(last), ..shown.clone() };
                assert_eq!(record.is_tested(), expected, "{record:?}");
            }
            let mut changed = shown;
            changed.ways_change(at(9));
            assert!(!changed.is_tested());
        }
    }
}
