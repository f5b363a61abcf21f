//! The firing of one rule on one host.
//!
//! ```text
//!            holds, N times in a row
//!   Clear ──► Pending ──► Firing ──┐ value on the good side of the clear value
//!     ▲          │ holds not       │
//!     └──────────┴─────────────────┘
//!   any state ── no value ──► Unknown ── value ──► Clear or Pending
//! ```
//! A missing value never fires: it leads to `Unknown`, from where the count starts anew.

use drover_model::{MissingReason, Reading, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Rule;

/// What a rule says of one host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum HostFiring {
    /// The condition does not hold.
    Clear,
    /// It holds, but not for enough evaluations yet.
    Pending {
        /// Evaluations in a row.
        held: u32,
        /// When the first of them was.
        since: Timestamp,
    },
    /// It fires and has not cleared.
    Firing {
        /// Since when.
        since: Timestamp,
    },
    /// There is no value.
    Unknown {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: MissingReason,
    },
}

/// A change that is worth an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transition {
    /// Nothing new.
    None,
    /// The rule fires on this host now.
    Fired,
    /// It has cleared.
    Cleared,
    /// Its value is gone.
    Lost(MissingReason),
    /// Its value is back.
    Regained,
}

impl HostFiring {
    /// The word users see.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Since when it is so, where that is known.
    pub const fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Clear => None,
            Self::Pending { since, .. } | Self::Firing { since } | Self::Unknown { since, .. } => {
                Some(*since)
            }
        }
    }
}

/// One evaluation of one rule on one host.
pub fn advance(
    rule: &Rule,
    before: HostFiring,
    reading: &Reading,
    now: Timestamp,
) -> (HostFiring, Transition) {
    let value = match reading {
        Reading::Known { value, .. } => *value,
        Reading::Missing(reason) => return lose(before, *reason, now),
    };
    let holds = rule.condition.holds(value);
    match before {
        HostFiring::Firing { since } => {
            if rule.condition.at(rule.clear).holds(value) || holds {
                (HostFiring::Firing { since }, Transition::None)
            } else {
                (HostFiring::Clear, Transition::Cleared)
            }
        }
        HostFiring::Clear if !holds => (HostFiring::Clear, Transition::None),
        HostFiring::Pending { .. } if !holds => (HostFiring::Clear, Transition::None),
        HostFiring::Unknown { .. } if !holds => (HostFiring::Clear, Transition::Regained),
        HostFiring::Pending { held, since } => count(rule, held + 1, since, now),
        HostFiring::Clear | HostFiring::Unknown { .. } => count(rule, 1, now, now),
    }
}

fn lose(before: HostFiring, reason: MissingReason, now: Timestamp) -> (HostFiring, Transition) {
    match before {
        HostFiring::Unknown { since, .. } => {
            (HostFiring::Unknown { since, reason }, Transition::None)
        }
        HostFiring::Clear | HostFiring::Pending { .. } | HostFiring::Firing { .. } => {
            (HostFiring::Unknown { since: now, reason }, Transition::Lost(reason))
        }
    }
}

fn count(rule: &Rule, held: u32, since: Timestamp, now: Timestamp) -> (HostFiring, Transition) {
    if held >= rule.evaluations {
        (HostFiring::Firing { since: now }, Transition::Fired)
    } else {
        (HostFiring::Pending { held, since }, Transition::None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Aggregate;
    use drover_model::RuleId;

    fn rule(evaluations: u32) -> Rule {
        Rule {
            id: RuleId::from_u128(1),
            name: "hot".to_owned(),
            enabled: true,
            condition: "cpu.usage_active > 60".parse().unwrap(),
            clear: 50.0,
            period: Duration::from_secs(60),
            aggregate: Aggregate::Mean,
            evaluations,
            source_hosts: vec![],
            target_hosts: vec![],
            guests: vec![],
            max_moves: 4,
            cooldown: Duration::from_secs(600),
            dry_run: false,
            wake: false,
            created: Timestamp::EPOCH,
        }
    }

    /// Runs values through the machine; `None` is a missing value.
    fn check(rule: &Rule, values: &[Option<f64>]) -> Vec<String> {
        let mut state = HostFiring::Clear;
        values
            .iter()
            .enumerate()
            .map(|(second, value)| {
                let now = Timestamp::from_millis(second as i64 * 1000);
                let reading = value.map_or(Reading::Missing(MissingReason::NoSamples), |value| {
                    Reading::Known { value, samples: 12, newest: now }
                });
                let (next, transition) = advance(rule, state, &reading, now);
                state = next;
                match transition {
                    Transition::None => state.as_str().to_owned(),
                    Transition::Lost(_) => format!("{} lost", state.as_str()),
                    other => format!("{} {other:?}", state.as_str()),
                }
            })
            .collect()
    }

    #[test]
    fn a_rule_fires_after_n_evaluations_and_clears_with_hysteresis() {
        let seen = check(&rule(2), &[50.0, 61.0, 62.0, 59.0, 51.0, 50.0, 61.0].map(Some));
        assert_eq!(
            seen,
            ["clear", "pending", "firing Fired", "firing", "firing", "clear Cleared", "pending"]
        );
    }

    #[test]
    fn an_interrupted_run_of_evaluations_starts_anew() {
        let seen = check(&rule(2), &[61.0, 59.0, 61.0, 61.0].map(Some));
        assert_eq!(seen, ["pending", "clear", "pending", "firing Fired"]);
    }

    #[test]
    fn missing_samples_never_fire_and_never_keep_firing() {
        let seen = check(&rule(1), &[Some(61.0), None, None, Some(61.0), None, Some(40.0)]);
        assert_eq!(
            seen,
            [
                "firing Fired",
                "unknown lost",
                "unknown",
                "firing Fired",
                "unknown lost",
                "clear Regained"
            ]
        );
    }
}
