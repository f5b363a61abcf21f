//! What users say about where guests may run, beyond what hardware and rules demand.

use std::collections::BTreeMap;

use drover_model::{GuestId, HostId, Name};
use serde::{Deserialize, Serialize};

/// A wish about the placement of some guests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementRule {
    /// Its name.
    pub name: Name,
    /// What is wished.
    pub kind: PlacementKind,
    /// Whether it must hold.
    pub strength: Strength,
}

/// Whether a wish must hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// No plan breaks it.
    Required,
    /// Breaking it costs this much, on the scale of the objective: 1 is an imbalance of
    /// the whole cluster, 0.1 about what a level 3 balance moves a guest for.
    Preferred(f64),
}

/// What can be wished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementKind {
    /// At most `most` of the guests in one domain: anti-affinity.
    Apart {
        /// The guests.
        guests: Vec<GuestId>,
        /// What a domain is.
        scope: Scope,
        /// Most of them in one.
        most: u16,
    },
    /// All of the guests in one domain: affinity.
    Together {
        /// The guests.
        guests: Vec<GuestId>,
        /// What a domain is.
        scope: Scope,
    },
    /// The guests in at least `least` domains.
    Spread {
        /// The guests.
        guests: Vec<GuestId>,
        /// What a domain is.
        scope: Scope,
        /// Fewest domains.
        least: u16,
    },
    /// The guests on these hosts only: pins and affinity to a group of hosts.
    On {
        /// The guests.
        guests: Vec<GuestId>,
        /// Where they may run.
        hosts: Vec<HostId>,
    },
    /// The guests not on these hosts: exclusions.
    NotOn {
        /// The guests.
        guests: Vec<GuestId>,
        /// Where they may not run.
        hosts: Vec<HostId>,
    },
}

/// What counts as one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A host.
    Host,
    /// All hosts with one value of this label, such as `rack`. A host without the label is
    /// a domain of its own.
    Label(String),
}

/// Failure domains: label → host → value.
pub type Labels = BTreeMap<String, BTreeMap<HostId, String>>;

impl PlacementRule {
    /// The guests it is about.
    pub fn guests(&self) -> &[GuestId] {
        match &self.kind {
            PlacementKind::Apart { guests, .. }
            | PlacementKind::Together { guests, .. }
            | PlacementKind::Spread { guests, .. }
            | PlacementKind::On { guests, .. }
            | PlacementKind::NotOn { guests, .. } => guests,
        }
    }

    /// Whether no plan may break it.
    pub fn is_required(&self) -> bool {
        self.strength == Strength::Required
    }
}

/// A name of the domain that a host is in, unique within the scope.
pub fn domain_of(labels: &Labels, scope: &Scope, host: HostId) -> String {
    match scope {
        Scope::Host => host.to_string(),
        Scope::Label(label) => labels
            .get(label)
            .and_then(|hosts| hosts.get(&host))
            .map_or_else(|| host.to_string(), |value| format!("{label}={value}")),
    }
}
