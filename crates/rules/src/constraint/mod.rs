//! Where a guest may go: one constraint per file, each answering with its reason.
//!
//! *Movable* constraints look at the guest alone, *placement* constraints at the guest
//! and one target. All are hard. Every failing one is reported, not the first.

mod allowed_target;
mod architecture;
mod cooldown;
mod cpu_model;
mod device;
mod fresh;
mod guest_state;
mod host_state;
mod machine_type;
mod memory;
mod network;
mod peer;
mod selected;
mod storage;
mod threshold;
mod under_way;

use std::time::Duration;

use drover_model::{GuestId, GuestView, HostId, HostView};
use serde::{Deserialize, Serialize};

use crate::{Condition, Projection};

/// A constraint says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Name of the constraint.
    pub constraint: String,
    /// The reason with its numbers.
    pub reason: String,
}

/// The constraint that a refusal passes by itself: samples come in.
pub const FRESH_SAMPLES: &str = "fresh-samples";

/// A constraint's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Allowed,
    /// No, and why.
    Refused(String),
}

/// What the caller wants of every placement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementPolicy {
    /// Conditions that no target may come near: those of every enabled rule that watches
    /// hosts, with the rule's hosts. Empty hosts means all.
    pub ceilings: Vec<Ceiling>,
    /// Distance to keep from a percent threshold, percent points.
    pub margin_percent: f64,
    /// Distance to keep from a memory threshold, as a part of it (0.1 is a tenth).
    pub margin_memory: f64,
    /// Memory that must stay available on a target, bytes, whatever the rules say.
    pub memory_reserve: u64,
    /// Hosts to move to; empty means all.
    pub target_hosts: Vec<HostId>,
    /// Guests that may be moved; empty means all.
    pub guests: Vec<GuestId>,
    /// A guest that was moved stays for so long. Zero for an operator's own request.
    pub cooldown: Duration,
}

/// A condition that targets must stay clear of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The condition.
    pub condition: Condition,
    /// Hosts it is about; empty means all.
    pub hosts: Vec<HostId>,
    /// The rule it comes from, for the reason.
    pub rule: String,
}

impl Default for PlacementPolicy {
    /// 5 percent points, a tenth of a memory threshold, 64 MiB, and no wishes.
    fn default() -> Self {
        Self {
            ceilings: Vec::new(),
            margin_percent: 5.0,
            margin_memory: 0.1,
            memory_reserve: 64 << 20,
            target_hosts: Vec::new(),
            guests: Vec::new(),
            cooldown: Duration::ZERO,
        }
    }
}

/// A guest and what is asked of it.
#[derive(Debug)]
struct MovableCase<'a> {
    guest: &'a GuestView,
    projection: &'a Projection<'a>,
    policy: &'a PlacementPolicy,
}

/// A guest, a target, and what is asked of them.
#[derive(Debug)]
struct PlacementCase<'a> {
    guest: &'a GuestView,
    source: Option<&'a HostView>,
    target: &'a HostView,
    projection: &'a Projection<'a>,
    policy: &'a PlacementPolicy,
}

type MovableCheck = fn(&MovableCase<'_>) -> Verdict;
type PlacementCheck = fn(&PlacementCase<'_>) -> Verdict;

const MOVABLE: &[(&str, MovableCheck)] = &[
    ("selected", selected::check),
    ("guest-state", guest_state::check),
    ("under-way", under_way::check),
    ("cooldown", cooldown::check),
    ("device", device::check),
];

const PLACEMENT: &[(&str, PlacementCheck)] = &[
    ("allowed-target", allowed_target::check),
    ("host-state", host_state::check),
    ("peer", peer::check),
    ("architecture", architecture::check),
    ("machine-type", machine_type::check),
    ("cpu-model", cpu_model::check),
    ("storage", storage::check),
    ("network", network::check),
    (FRESH_SAMPLES, fresh::check),
    ("memory", memory::check),
    ("threshold", threshold::check),
];

/// Everything against moving this guest at all. Empty means it may move.
pub fn check_movable(
    projection: &Projection<'_>,
    policy: &PlacementPolicy,
    guest: GuestId,
) -> Vec<Refusal> {
    let Some(guest) = projection.view().guests.get(&guest) else {
        return vec![unknown("guest", guest)];
    };
    let case = MovableCase { guest, projection, policy };
    refusals(MOVABLE.iter().map(|(name, check)| (*name, check(&case))))
}

/// Everything against placing this guest on this host. Empty means it may go there.
pub fn check_placement(
    projection: &Projection<'_>,
    policy: &PlacementPolicy,
    guest: GuestId,
    target: HostId,
) -> Vec<Refusal> {
    let view = projection.view();
    let Some(guest) = view.guests.get(&guest) else {
        return vec![unknown("guest", guest)];
    };
    let Some(target) = view.hosts.get(&target) else {
        return vec![unknown("host", target)];
    };
    let source = view.hosts.get(&guest.guest.host);
    let case = PlacementCase { guest, source, target, projection, policy };
    refusals(PLACEMENT.iter().map(|(name, check)| (*name, check(&case))))
}

fn refusals<'n>(verdicts: impl Iterator<Item = (&'n str, Verdict)>) -> Vec<Refusal> {
    verdicts
        .filter_map(|(constraint, verdict)| match verdict {
            Verdict::Allowed => None,
            Verdict::Refused(reason) => Some(Refusal { constraint: constraint.to_owned(), reason }),
        })
        .collect()
}

fn unknown(kind: &str, id: impl std::fmt::Display) -> Refusal {
    Refusal { constraint: "known".to_owned(), reason: format!("there is no {kind} {id}") }
}

impl Verdict {
    /// Refused with `reason` unless `allowed`.
    fn unless(allowed: bool, reason: impl FnOnce() -> String) -> Self {
        if allowed { Self::Allowed } else { Self::Refused(reason()) }
    }
}
