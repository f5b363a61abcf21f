//! Switching one host off: it is emptied, shuts itself down in order, and is proven to be off.
//!
//! ```text
//!  Draining ─Drained─► Ordering ─OrderTaken─► Confirming ─off─► Parked
//!     ▲                  │   │                    │
//!     └────Occupied──────┘   │ OrderRefused, or   │ deadline, or it came back
//!     │                      │ NotNow for long     │
//!     │ Hangs, Abandoned,    │                    │
//!     │ CalledBack           ▼                    ▼
//!     └──────────────────► Failed ◄───────────────┘
//! ```
//!
//! | state | may the host run guests |
//! |---|---|
//! | Draining | yes: they leave by live migration |
//! | Ordering, Confirming | no: its agent refuses to switch off while one is active |
//! | Parked | no: it is off |
//! | Failed | it is what it was; closed to guests where it may still switch off |
//!
//! Nothing here cuts power. A BMC is only asked: its word *off*, together with the agent's
//! silence, is the proof; without a BMC an agent that took the order and fell silent is.

use std::fmt;

use drover_model::{PowerState, Timestamp};
use serde::{Deserialize, Serialize};

use super::ParkSettings;
use crate::Ignored;

/// Where a park is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ParkState {
    /// Guests leave.
    Draining,
    /// The host's agent is told to switch it off; it may have been told already.
    Ordering {
        /// Since when.
        since: Timestamp,
    },
    /// The agent took the order; the host is to be seen off.
    Confirming {
        /// When the order was first given.
        since: Timestamp,
        /// Since when the agent is silent.
        silent: Option<Timestamp>,
    },
    /// It is off.
    Parked {
        /// Who says so.
        proof: OffProof,
        /// Milliseconds since the request.
        took_ms: u64,
    },
    /// It is not.
    Failed {
        /// Why.
        cause: ParkFailure,
        /// The host may have been told to switch off, and still do so.
        ordered: bool,
    },
}

/// By what a host is known to be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffProof {
    /// Its BMC says so, and its agent is silent.
    Bmc,
    /// Its agent took the order and has been silent since: off, as far as can be told.
    Silence,
}

impl OffProof {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bmc => "its BMC says that it is off",
            Self::Silence => "it took the order and is silent: off, as far as can be told",
        }
    }
}

/// Why a host is not parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "failure")]
pub enum ParkFailure {
    /// Guests do not get away.
    Hangs {
        /// Which, and why.
        why: String,
    },
    /// Somebody ended its drain.
    Abandoned,
    /// It is needed after all.
    CalledBack {
        /// Who says so.
        by: String,
    },
    /// Its agent will not.
    Refused {
        /// Why.
        why: String,
    },
    /// Its agent did not answer the order.
    Unanswered {
        /// Seconds that were waited.
        after_s: u64,
    },
    /// Its BMC says that it is on.
    StillOn {
        /// Seconds since the order.
        after_s: u64,
    },
    /// Its agent still answers.
    AgentStays {
        /// Seconds since the order.
        after_s: u64,
        /// Its BMC says that it is off all the same.
        bmc_says_off: bool,
    },
    /// It came up again.
    CameBack,
}

impl fmt::Display for ParkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hangs { why } => write!(f, "guests do not get away: {why}"),
            Self::Abandoned => f.write_str("somebody took it into use again"),
            Self::CalledBack { by } => write!(f, "it was called back ({by})"),
            Self::Refused { why } => write!(f, "its agent does not switch it off: {why}"),
            Self::Unanswered { after_s } => write!(
                f,
                "its agent did not answer for {after_s} s when it was told to switch off; \
                 whether it does is not known"
            ),
            Self::StillOn { after_s } => write!(
                f,
                "its BMC says that it is still on {after_s} s after it took the order to switch off"
            ),
            Self::AgentStays { after_s, bmc_says_off: false } => {
                write!(f, "its agent still answers {after_s} s after it took the order")
            }
            Self::AgentStays { after_s, bmc_says_off: true } => write!(
                f,
                "its BMC says that it is off, yet its agent still answers after {after_s} s: is \
                 the BMC's address another machine's?"
            ),
            Self::CameBack => f.write_str("it came up again instead of staying off"),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParkEvent {
    /// No guest is active on it and none is on its way there.
    Drained {
        /// The incarnation of its agent: a later one means that the host came up again.
        agent: Option<String>,
    },
    /// Guests are active on it.
    Occupied,
    /// Guests do not get away.
    Hangs(String),
    /// Somebody ended its drain.
    Abandoned,
    /// It is needed after all, says this one.
    CalledBack(String),
    /// Its agent took the order.
    OrderTaken,
    /// Its agent will not.
    OrderRefused(String),
    /// Its agent will not now: a guest is on the host, leaves it or is expected there.
    OrderNotNow(String),
    /// Whether its agent took it is not known.
    OrderUnknown(String),
    /// The BMC's word.
    Power(PowerState),
    /// The BMC does not say.
    PowerUnknown(String),
    /// The BMC refuses the login: it is left alone from then on, or it might lock the account.
    Denied(String),
    /// Time has passed; the incarnation of its agent that is connected now.
    Seen {
        /// None where none is.
        agent: Option<String>,
    },
}

/// What the shell is asked to do. Each may be repeated at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkEffect {
    /// Tell the host's agent to switch it off, unless guests are active.
    PowerOff,
    /// Ask the BMC whether the host is on.
    AskPower,
}

/// A park as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Park {
    /// When it was asked for.
    pub begun: Timestamp,
    /// How long it may take.
    pub settings: ParkSettings,
    /// There is a BMC to ask.
    pub asks_bmc: bool,
    /// The agent that was told to switch its host off.
    pub agent: Option<String>,
    /// Where it is.
    pub state: ParkState,
    /// The BMC's last word since the order.
    pub bmc: Option<PowerState>,
    /// Its agent says that it does not switch off now: since when, and why last.
    #[serde(default)]
    pub not_now: Option<(Timestamp, String)>,
    /// Its agent may have been told to switch it off, and may still do so.
    #[serde(default)]
    pub told: bool,
}

use ParkEffect as F;
use ParkEvent as E;
use ParkState as S;

impl ParkState {
    /// The word users see.
    pub const fn as_str(&self) -> &'static str {
        match self {
            S::Draining => "draining",
            S::Ordering { .. } => "shutting-down",
            S::Confirming { .. } => "confirming",
            S::Parked { .. } => "parked",
            S::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more happens.
    pub const fn is_finished(&self) -> bool {
        matches!(self, S::Parked { .. } | S::Failed { .. })
    }
}

impl Park {
    /// A park that begins now, together with its host's drain.
    pub const fn new(begun: Timestamp, settings: ParkSettings, asks_bmc: bool) -> Self {
        let (agent, bmc, not_now) = (None, None, None);
        let (state, told) = (S::Draining, false);
        Self { begun, settings, asks_bmc, agent, state, bmc, not_now, told }
    }

    /// Whether it can be ended without a doubt that the host stays on: nobody has told its agent
    /// to switch it off.
    pub fn can_be_called_back(&self) -> bool {
        self.state == S::Draining && !self.told
    }

    /// What the present state asks for.
    pub fn effects(&self) -> Vec<ParkEffect> {
        match self.state {
            S::Ordering { .. } if self.asks_bmc => vec![F::PowerOff, F::AskPower],
            S::Ordering { .. } => vec![F::PowerOff],
            S::Confirming { .. } if self.asks_bmc => vec![F::AskPower],
            _ => vec![],
        }
    }

    /// What follows from an event; ignored where nothing does.
    pub fn step(
        &self,
        event: &ParkEvent,
        now: Timestamp,
    ) -> Result<(Self, Vec<ParkEffect>), Ignored> {
        let mut next = match &self.state {
            S::Draining => self.draining(event, now),
            S::Ordering { since } => self.ordering(event, *since, now),
            S::Confirming { since, silent } => self.confirming(event, *since, *silent, now),
            S::Parked { .. } | S::Failed { .. } => return Err(Ignored),
        };
        next = next.judged(now);
        if next == *self {
            return Err(Ignored);
        }
        let effects = next.effects();
        Ok((next, effects))
    }

    fn draining(&self, event: &ParkEvent, now: Timestamp) -> Self {
        let next = self.clone();
        match event {
            E::Drained { agent } => {
                let told = Self { agent: agent.clone(), bmc: None, told: true, ..next };
                told.to(S::Ordering { since: now })
            }
            E::Hangs(why) => next.fails(ParkFailure::Hangs { why: why.clone() }, false),
            E::Abandoned => next.fails(ParkFailure::Abandoned, false),
            E::CalledBack(by) if self.can_be_called_back() => {
                next.fails(ParkFailure::CalledBack { by: by.clone() }, false)
            }
            // It was asked before a guest was seen; its agent found none and goes off.
            E::OrderTaken => next.to(S::Confirming { since: now, silent: None }),
            _ => next,
        }
    }

    fn ordering(&self, event: &ParkEvent, since: Timestamp, now: Timestamp) -> Self {
        let next = self.clone();
        match event {
            E::OrderTaken => next.to(S::Confirming { since, silent: None }),
            E::OrderRefused(why) => next.fails(ParkFailure::Refused { why: why.clone() }, false),
            // What its agent is still busy with ends in a moment, or the guest shows up and is
            // drained: it is told again.
            E::OrderNotNow(why) => {
                let first = self.not_now.as_ref().map_or(now, |(first, _)| *first);
                Self { not_now: Some((first, why.clone())), ..next }
            }
            // It may have taken it this time.
            E::OrderUnknown(_) => Self { not_now: None, ..next },
            // Somebody's guest was faster than the order; the agent refuses it while one is
            // active.
            E::Occupied => Self { not_now: None, ..next }.to(S::Draining),
            E::Power(power) => Self { bmc: Some(*power), ..next },
            E::PowerUnknown(_) => Self { bmc: None, ..next },
            E::Denied(_) => Self { bmc: None, asks_bmc: false, ..next },
            // The answer to the order was lost; the host is off.
            E::Seen { agent: None } if self.bmc == Some(PowerState::Off) => {
                next.parked(OffProof::Bmc, now)
            }
            _ => next,
        }
    }

    fn confirming(
        &self,
        event: &ParkEvent,
        since: Timestamp,
        silent: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let next = self.clone();
        match event {
            E::Power(power) => Self { bmc: Some(*power), ..next },
            E::PowerUnknown(_) => Self { bmc: None, ..next },
            E::Denied(_) => Self { bmc: None, asks_bmc: false, ..next },
            E::Seen { agent: None } => {
                next.to(S::Confirming { since, silent: silent.or(Some(now)) })
            }
            E::Seen { agent: Some(agent) } => {
                if self.agent.as_ref().is_some_and(|told| told != agent) {
                    next.fails(ParkFailure::CameBack, true)
                } else {
                    next.to(S::Confirming { since, silent: None })
                }
            }
            _ => next,
        }
    }

    /// Whether it is off by now, or out of time.
    fn judged(self, now: Timestamp) -> Self {
        let off = self.bmc == Some(PowerState::Off);
        let late = |since: Timestamp| now.since(since) >= self.settings.deadline;
        let after_s = |since: Timestamp| now.since(since).as_secs();
        let long = |silent: &Timestamp| now.since(*silent) >= self.settings.silence;
        let in_vain =
            |(first, _): &&(Timestamp, String)| now.since(*first) >= ParkSettings::NOT_NOW_PATIENCE;
        match self.state {
            S::Ordering { .. } if self.not_now.as_ref().filter(in_vain).is_some() => {
                let why = self.not_now.clone().map(|(_, why)| why).unwrap_or_default();
                self.fails(ParkFailure::Refused { why }, false)
            }
            S::Ordering { since } if late(since) => {
                let after_s = after_s(since);
                self.fails(ParkFailure::Unanswered { after_s }, true)
            }
            S::Confirming { silent: Some(_), .. } if off => self.parked(OffProof::Bmc, now),
            S::Confirming { silent: Some(silent), .. }
                if !self.asks_bmc && self.bmc != Some(PowerState::On) && long(&silent) =>
            {
                self.parked(OffProof::Silence, now)
            }
            S::Confirming { since, silent } if late(since) => {
                let after_s = after_s(since);
                match (self.bmc, silent) {
                    (Some(PowerState::On), _) => self.fails(ParkFailure::StillOn { after_s }, true),
                    // A BMC that does not answer is as good as none.
                    (_, Some(silent)) if long(&silent) => self.parked(OffProof::Silence, now),
                    (_, Some(_)) => self,
                    (_, None) => {
                        self.fails(ParkFailure::AgentStays { after_s, bmc_says_off: off }, true)
                    }
                }
            }
            _ => self,
        }
    }

    fn parked(self, proof: OffProof, now: Timestamp) -> Self {
        let took = now.since(self.begun).as_millis();
        self.to(S::Parked { proof, took_ms: u64::try_from(took).unwrap_or(u64::MAX) })
    }

    fn fails(self, cause: ParkFailure, ordered: bool) -> Self {
        self.to(S::Failed { cause, ordered })
    }

    fn to(self, state: ParkState) -> Self {
        Self { state, ..self }
    }
}
