//! Waking one host: tries, then proof that it is of use again.
//!
//! ```text
//!  Asking ─BMC: off, or no word─► Trying ─sent─► Waiting ─pause over─► (Trying, n + 1)
//!    │                              ▲  └─not sent─► (Trying by the next method)  │
//!    │ BMC: on                      │                                            │
//!    └────────────► Starting ◄──────┴─agent is back, or BMC: on──────────────────┤
//!                     │                                                          │
//!                     ▼                                                          ▼
//!                   Awake: agent, libvirtd, pools and networks       Failed: what is missing
//! ```
//!
//! Proof of wake is the host's own word: its agent has been connected since the wake began, its libvirtd answers, and the pools and networks that it had are there again. That a
//! packet left or that a BMC took an order proves nothing; that the BMC says *on* ends the
//! tries. A host that is up already is awake at once.
//!
//! A BMC that refuses the login is left alone from then on, whatever was to be asked of it: it
//! would say so again, and many lock the account after some wrong tries.

use std::fmt;

use drover_model::{PowerState, Timestamp, WakeMethod};
use serde::{Deserialize, Serialize};

use super::WakeSettings;
use crate::Ignored;

/// Where a wake is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum WakeState {
    /// Nothing is done yet: the BMC, where there is one, is asked first.
    Asking,
    /// A try is to be made.
    Trying {
        /// The first is 1.
        number: u32,
        /// How.
        method: WakeMethod,
    },
    /// A try was made; nothing is seen of the host yet.
    Waiting {
        /// Tries so far.
        number: u32,
        /// When it was made.
        since: Timestamp,
    },
    /// The host is on; not all that it had is there yet.
    Starting {
        /// Tries so far.
        number: u32,
    },
    /// It is of use.
    Awake {
        /// Milliseconds from the request to the proof.
        took_ms: u64,
        /// It was not known to be off, and nothing was tried.
        was_up: bool,
    },
    /// It is not, and nothing more is tried.
    Failed {
        /// What is missing.
        cause: WakeFailure,
    },
}

/// Why a host is not awake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "failure")]
pub enum WakeFailure {
    /// It cannot be woken at all.
    NoMethod,
    /// Nothing was seen of it.
    NoSignOfLife {
        /// Tries that were made.
        tries: u32,
        /// What went wrong with the last one.
        trouble: Option<String>,
    },
    /// Its BMC refuses the login or is not trusted, and nothing else wakes it.
    Denied {
        /// What it says.
        why: String,
    },
    /// Its BMC says that it is on; its agent has not come.
    NoAgent,
    /// Its agent is back; libvirtd does not answer.
    NoHypervisor,
    /// It is up without something that it had.
    Missing {
        /// Pools and networks, as `pool X`.
        what: Vec<String>,
    },
}

impl fmt::Display for WakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMethod => f.write_str("no way to wake it is known"),
            Self::NoSignOfLife { tries, trouble } => {
                let plural = if *tries == 1 { "try" } else { "tries" };
                write!(f, "no sign of life after {tries} {plural}")?;
                trouble.as_ref().map_or(Ok(()), |trouble| write!(f, "; the last one: {trouble}"))
            }
            Self::Denied { why } => write!(f, "{why}; it was not asked again"),
            Self::NoAgent => f.write_str("it is switched on, but its agent is not back"),
            Self::NoHypervisor => f.write_str("it is up, but libvirtd does not answer"),
            Self::Missing { what } => {
                let verb = if what.len() == 1 { "is" } else { "are" };
                write!(f, "it is up, but {} {verb} missing", what.join(", "))
            }
        }
    }
}

/// What is seen of a host by its own word.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sight {
    /// A moment at which its agent was connected for certain, the latest that is known: when
    /// its session began, or later where it was heard since. None where it is not connected.
    pub session: Option<Timestamp>,
    /// Its libvirtd answers in this session.
    pub hypervisor: bool,
    /// What it had and is not there, as `pool X`.
    pub missing: Vec<String>,
}

/// What a host still lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Its agent.
    Agent,
    /// Its libvirtd.
    Hypervisor,
    /// These, as `pool X`.
    Things(Vec<String>),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WakeEvent {
    /// Time has passed, and this is seen of the host now.
    Seen(Sight),
    /// The BMC's word.
    Power(PowerState),
    /// The BMC does not say.
    PowerUnknown(String),
    /// The BMC refuses the login, whatever it was asked.
    Denied(String),
    /// A try was made.
    Tried {
        /// Which.
        number: u32,
        /// How.
        method: WakeMethod,
        /// Why it could not be made, where it could not.
        failure: Option<String>,
    },
}

/// What the shell is asked to do. Each may be repeated at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeEffect {
    /// Ask the BMC whether the host is on.
    AskPower,
    /// Make a try; tell it by [`WakeEvent::Tried`].
    Try {
        /// Which.
        number: u32,
        /// How.
        method: WakeMethod,
    },
}

/// A wake as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// When it was asked for.
    pub begun: Timestamp,
    /// How.
    pub settings: WakeSettings,
    /// There is a BMC to ask.
    pub asks_bmc: bool,
    /// The host is known to have been off: a session from before does not count, however alive
    /// it looks.
    pub from_off: bool,
    /// Where it is.
    pub state: WakeState,
    /// The BMC's last word.
    pub bmc: Option<PowerState>,
    /// At least one try was carried out.
    pub sent: bool,
    /// What went wrong with the last try.
    pub trouble: Option<String>,
    /// What the host lacks.
    pub lacks: Lack,
}

use WakeEffect as F;
use WakeEvent as E;
use WakeState as S;

impl WakeState {
    /// The word users see.
    pub const fn as_str(&self) -> &'static str {
        match self {
            S::Asking => "asking",
            S::Trying { .. } => "trying",
            S::Waiting { .. } => "waiting",
            S::Starting { .. } => "starting",
            S::Awake { .. } => "awake",
            S::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more happens.
    pub const fn is_finished(&self) -> bool {
        matches!(self, S::Awake { .. } | S::Failed { .. })
    }

    /// Tries so far.
    pub const fn tries(&self) -> u32 {
        match self {
            S::Trying { number, .. } | S::Waiting { number, .. } | S::Starting { number } => {
                *number
            }
            S::Asking | S::Awake { .. } | S::Failed { .. } => 0,
        }
    }
}

impl Wake {
    /// A wake that begins now. `from_off`: the host is known to be off.
    pub const fn new(
        begun: Timestamp,
        settings: WakeSettings,
        asks_bmc: bool,
        from_off: bool,
    ) -> Self {
        Self {
            begun,
            settings,
            asks_bmc,
            from_off,
            state: S::Asking,
            bmc: None,
            sent: false,
            trouble: None,
            lacks: Lack::Agent,
        }
    }

    /// What the present state asks for.
    pub fn effects(&self) -> Vec<WakeEffect> {
        match self.state {
            S::Trying { number, method } => vec![F::Try { number, method }],
            S::Asking | S::Waiting { .. } | S::Starting { .. } if self.asks_bmc => {
                vec![F::AskPower]
            }
            _ => vec![],
        }
    }

    /// What follows from an event; ignored where nothing does.
    pub fn step(
        &self,
        event: &WakeEvent,
        now: Timestamp,
    ) -> Result<(Self, Vec<WakeEffect>), Ignored> {
        if self.state.is_finished() {
            return Err(Ignored);
        }
        let mut next = match event {
            E::Seen(sight) => self.seen(sight, now),
            E::Power(power) => self.told(Some(*power), now),
            E::PowerUnknown(_) => self.told(None, now),
            E::Denied(why) => self.denied(why, now),
            E::Tried { number, method, failure } => {
                self.tried(*number, *method, failure.as_deref(), now)
            }
        };
        if !next.state.is_finished() && now.since(next.begun) >= next.settings.deadline {
            next = next.fails();
        }
        if next == *self {
            return Err(Ignored);
        }
        let effects = next.effects();
        Ok((next, effects))
    }

    fn seen(&self, sight: &Sight, now: Timestamp) -> Self {
        // A session may outlive its host by the time that a silent line takes to be noticed.
        if self.state == S::Asking && self.asks_bmc {
            return self.clone();
        }
        let counts = |since: &Timestamp| !self.from_off || *since >= self.begun;
        if sight.session.filter(counts).is_none() {
            return self.unseen(now);
        }
        let lacks =
            if sight.hypervisor { Lack::Things(sight.missing.clone()) } else { Lack::Hypervisor };
        let seen = Self { lacks, ..self.clone() };
        if sight.hypervisor && sight.missing.is_empty() {
            let took = now.since(self.begun).as_millis();
            let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
            let was_up = !self.from_off && !self.sent;
            return seen.to(S::Awake { took_ms, was_up });
        }
        let number = self.state.tries();
        seen.to(S::Starting { number })
    }

    fn unseen(&self, now: Timestamp) -> Self {
        match self.state {
            S::Asking => self.tries(1),
            S::Waiting { .. } if self.settings.methods.is_empty() => self.clone().fails(),
            S::Waiting { number, since }
                if now.since(since) >= self.settings.pause_after(number) =>
            {
                let hopeless = self.bmc == Some(PowerState::Off) || !self.sent;
                if number < self.settings.tries {
                    self.tries(number + 1)
                } else if hopeless {
                    self.clone().fails()
                } else {
                    // Slow machines answer long after they were woken.
                    self.clone()
                }
            }
            S::Starting { number } if self.bmc != Some(PowerState::On) => {
                let lost = Self { lacks: Lack::Agent, ..self.clone() };
                if number == 0 { lost.tries(1) } else { lost.to(S::Waiting { number, since: now }) }
            }
            S::Starting { .. } => Self { lacks: Lack::Agent, ..self.clone() },
            _ => self.clone(),
        }
    }

    fn told(&self, power: Option<PowerState>, now: Timestamp) -> Self {
        let mut next = Self { bmc: power, ..self.clone() };
        match (&self.state, power) {
            (S::Asking, Some(PowerState::Off)) => {
                next.from_off = true;
                next.tries(1)
            }
            (S::Asking, None) => next.tries(1),
            (S::Asking | S::Trying { .. } | S::Waiting { .. }, Some(PowerState::On)) => {
                let number = self.state.tries();
                next.to(S::Starting { number })
            }
            // An agent that answers knows better than its BMC.
            (S::Starting { number }, Some(PowerState::Off)) if self.lacks == Lack::Agent => {
                if *number == 0 {
                    next.tries(1)
                } else {
                    next.to(S::Waiting { number: *number, since: now })
                }
            }
            _ => next,
        }
    }

    /// Goes on without the BMC. Whether the host is up already shows with the next look.
    fn denied(&self, why: &str, now: Timestamp) -> Self {
        let trouble = Some(why.to_owned());
        // That it was off will not be true for long.
        let bmc = self.bmc.filter(|last| *last == PowerState::On);
        let mut next = Self { asks_bmc: false, bmc, trouble, ..self.clone() };
        next.settings.methods.retain(|method| *method != WakeMethod::Bmc);
        match self.state {
            S::Trying { number, method: WakeMethod::Bmc } => {
                match self.after(number, WakeMethod::Bmc) {
                    Some(method) => next.to(S::Trying { number, method }),
                    None => next.to(S::Waiting { number, since: now }),
                }
            }
            _ => next,
        }
    }

    fn tried(
        &self,
        number: u32,
        method: WakeMethod,
        failure: Option<&str>,
        now: Timestamp,
    ) -> Self {
        if self.state != (S::Trying { number, method }) {
            return self.clone();
        }
        let Some(failure) = failure else {
            let made = Self { sent: true, trouble: None, ..self.clone() };
            return made.to(S::Waiting { number, since: now });
        };
        let next = Self { trouble: Some(failure.to_owned()), ..self.clone() };
        match self.after(number, method) {
            Some(method) => next.to(S::Trying { number, method }),
            None => next.to(S::Waiting { number, since: now }),
        }
    }

    /// Begins a try with the method whose turn it is.
    fn tries(&self, number: u32) -> Self {
        match self.first(number) {
            Some(method) => self.clone().to(S::Trying { number, method }),
            None => self.clone().fails(),
        }
    }

    fn first(&self, number: u32) -> Option<WakeMethod> {
        let methods = &self.settings.methods;
        let turn = usize::try_from(number.saturating_sub(1)).unwrap_or_default();
        methods.get(turn.checked_rem(methods.len())?).copied()
    }

    /// The method after this one in the same try; none where all have had their turn.
    fn after(&self, number: u32, method: WakeMethod) -> Option<WakeMethod> {
        let methods = &self.settings.methods;
        let at = methods.iter().position(|other| *other == method)?;
        let next = methods.get((at + 1) % methods.len()).copied()?;
        (Some(next) != self.first(number)).then_some(next)
    }

    fn fails(self) -> Self {
        let cause = match &self.lacks {
            Lack::Agent if self.bmc == Some(PowerState::On) => WakeFailure::NoAgent,
            Lack::Agent if self.settings.methods.is_empty() => {
                let why = self.trouble.clone();
                why.map_or(WakeFailure::NoMethod, |why| WakeFailure::Denied { why })
            }
            Lack::Agent => WakeFailure::NoSignOfLife {
                tries: self.state.tries(),
                trouble: self.trouble.clone(),
            },
            Lack::Hypervisor => WakeFailure::NoHypervisor,
            Lack::Things(what) => WakeFailure::Missing { what: what.clone() },
        };
        self.to(S::Failed { cause })
    }

    fn to(self, state: WakeState) -> Self {
        Self { state, ..self }
    }
}
