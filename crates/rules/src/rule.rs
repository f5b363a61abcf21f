//! A rule: a condition on hosts, and what may be done when it holds.

use std::time::Duration;

use drover_model::{GuestId, HostId, Name, RuleId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::constraint::Ceiling;
use crate::{Condition, PlacementPolicy};

/// How the samples of the period become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// Arithmetic mean.
    #[default]
    Mean,
    /// Largest.
    Max,
    /// Smallest.
    Min,
    /// 95th percentile, nearest rank.
    P95,
}

/// A rule as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Id.
    pub id: RuleId,
    /// Unique name.
    pub name: Name,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// What must hold.
    pub condition: Condition,
    /// Value at which it counts as cleared.
    pub clear: f64,
    /// Window over which samples are aggregated.
    pub period: Duration,
    /// How.
    pub aggregate: Aggregate,
    /// Consecutive evaluations that must hold.
    pub evaluations: u32,
    /// Hosts to watch; empty means all.
    pub source_hosts: Vec<HostId>,
    /// Hosts to move to; empty means all.
    pub target_hosts: Vec<HostId>,
    /// Guests that may be moved; empty means all.
    pub guests: Vec<GuestId>,
    /// Most moves of one plan.
    pub max_moves: u32,
    /// A guest that was moved stays for so long.
    pub cooldown: Duration,
    /// Plan and record only.
    pub dry_run: bool,
    /// Where no host that is awake takes the guests, have a parked one woken.
    #[serde(default)]
    pub wake: bool,
    /// When it was created.
    pub created: Timestamp,
}

/// Named limits of a rule.
pub mod limits {
    use std::time::Duration;

    /// Shortest period: two samples at the default rate.
    pub const MIN_PERIOD: Duration = Duration::from_secs(10);
    /// Longest period: history is kept at full rate for a day.
    pub const MAX_PERIOD: Duration = Duration::from_secs(86_400);
    /// Longest cooldown: beyond a week a pin is meant.
    pub const MAX_COOLDOWN: Duration = Duration::from_secs(7 * 86_400);
    /// Most evaluations.
    pub const MAX_EVALUATIONS: u32 = 100;
    /// Most moves of one plan: more is a drain.
    pub const MAX_MOVES: u32 = 64;
    /// Longest name.
    pub const MAX_NAME: usize = 63;
    /// Most rules: each is evaluated at every turn.
    pub const MAX_RULES: usize = 256;
}

/// A rule's value is outside its limits.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleLimitError {
    /// Name.
    #[error("the name `{0}` must be 1 to 63 letters, digits, `-`, `_` or `.`")]
    Name(String),
    /// Period.
    #[error("the period must be 10 s to 24 h")]
    Period,
    /// Evaluations.
    #[error("the number of evaluations must be 1 to 100")]
    Evaluations,
    /// Moves.
    #[error("max-moves must be 1 to 64")]
    MaxMoves,
    /// Cooldown.
    #[error("the cooldown must be at most 7 d")]
    Cooldown,
    /// Clear value.
    #[error("the clear value {clear} must be on the good side of {condition}")]
    Clear {
        /// What was given.
        clear: f64,
        /// The condition.
        condition: String,
    },
}

impl Rule {
    /// Whether it moves guests: a dry run must not change what others do.
    pub const fn acts(&self) -> bool {
        self.enabled && !self.dry_run
    }

    /// Its condition, which no target that it watches may come near.
    pub fn ceiling(&self) -> Ceiling {
        Ceiling {
            condition: self.condition,
            hosts: self.source_hosts.clone(),
            watched: self.source_hosts.clone(),
            rule: self.name.clone(),
        }
    }

    /// What its plans must keep beside `standing`: its own condition and those of the
    /// others that act. Its own holds on every host, also those it does not watch and also
    /// when it is disabled and only tested.
    pub fn placement<'r>(
        &self,
        all: impl IntoIterator<Item = &'r Self>,
        standing: PlacementPolicy,
    ) -> PlacementPolicy {
        let own = Ceiling { hosts: vec![], ..self.ceiling() };
        let others = all.into_iter().filter(|other| other.acts() && other.id != self.id);
        PlacementPolicy {
            ceilings: std::iter::once(own).chain(others.map(Self::ceiling)).collect(),
            target_hosts: self.target_hosts.clone(),
            guests: self.guests.clone(),
            cooldown: self.cooldown,
            ..standing
        }
    }

    /// Checks every limit; all that is wrong at once.
    pub fn check(&self) -> Vec<RuleLimitError> {
        let mut wrong = Vec::new();
        let name_ok = (1..=limits::MAX_NAME).contains(&self.name.len())
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !name_ok {
            wrong.push(RuleLimitError::Name(self.name.clone()));
        }
        if !(limits::MIN_PERIOD..=limits::MAX_PERIOD).contains(&self.period) {
            wrong.push(RuleLimitError::Period);
        }
        if !(1..=limits::MAX_EVALUATIONS).contains(&self.evaluations) {
            wrong.push(RuleLimitError::Evaluations);
        }
        if !(1..=limits::MAX_MOVES).contains(&self.max_moves) {
            wrong.push(RuleLimitError::MaxMoves);
        }
        if self.cooldown > limits::MAX_COOLDOWN {
            wrong.push(RuleLimitError::Cooldown);
        }
        if !self.condition.accepts_clear(self.clear) {
            wrong.push(RuleLimitError::Clear {
                clear: self.clear,
                condition: self.condition.to_string(),
            });
        }
        wrong
    }

    /// Whether the rule watches this host.
    pub fn watches(&self, host: HostId) -> bool {
        self.source_hosts.is_empty() || self.source_hosts.contains(&host)
    }
}
