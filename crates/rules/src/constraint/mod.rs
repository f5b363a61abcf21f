//! Where a guest may go: one constraint per file, each answering with its reason.
//!
//! *Movable* constraints look at the guest alone, *placement* constraints at the guest
//! and one target. All are hard. Every failing one is reported, not the first.

mod allowed_target;
mod apart;
mod architecture;
mod asleep;
mod cooldown;
mod cpu_model;
mod device;
mod draining;
mod emulated;
mod fresh;
mod guest_state;
mod host_state;
mod machine_type;
mod memory;
mod name;
mod network;
mod on_hosts;
mod overcommit;
mod peer;
mod power_cap;
mod preflight;
mod selected;
mod spread;
mod storage;
mod threshold;
mod together;
mod under_way;

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{GuestId, GuestView, HostId, HostView, MigrationMode};
use serde::{Deserialize, Serialize};

use crate::placement_rule::{Labels, PlacementRule, Scope, domain_of};
use crate::{Condition, Initiative, Projection};

pub use asleep::Asleep;
pub use name::Constraint;
pub use power_cap::PowerCap;
pub use preflight::{KnownRefusal, KnownRefusals, Way};

/// A constraint says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which.
    pub constraint: Constraint,
    /// The reason with its numbers.
    pub reason: String,
}

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
    /// Distance to keep from a threshold in bytes or watts, as a part of it (0.1 is a tenth).
    pub margin_memory: f64,
    /// Memory that must stay available on a target, bytes, whatever the rules say.
    pub memory_reserve: u64,
    /// Hosts to move to; empty means all.
    pub target_hosts: Vec<HostId>,
    /// Guests that may be moved; empty means all.
    pub guests: Vec<GuestId>,
    /// A guest that was moved stays for so long. Zero for an operator's own request.
    pub cooldown: Duration,
    /// What users wish about where guests run.
    #[serde(default)]
    pub rules: Vec<PlacementRule>,
    /// Failure domains.
    #[serde(default)]
    pub labels: Labels,
    /// Hosts that are to be emptied and take nothing.
    #[serde(default)]
    pub draining: Vec<HostId>,
    /// Hosts that are switched off, or on their way there or back.
    #[serde(default)]
    pub asleep: BTreeMap<HostId, Asleep>,
    /// How much of a host's memory guests may be promised together, as a factor: 1 is no
    /// more than there is. None: only what is really free counts.
    #[serde(default)]
    pub memory_overcommit: Option<f64>,
    /// Groups of hosts that may draw no more than so many watts.
    #[serde(default)]
    pub power_caps: Vec<PowerCap>,
    /// Hosts that may fail at once without a guest being left without a place, where a plan
    /// empties hosts.
    #[serde(default)]
    pub survive_failures: u8,
    /// Who wants guests moved.
    #[serde(default)]
    pub initiative: Initiative,
    /// In which way guests are moved.
    #[serde(default)]
    pub mode: MigrationMode,
    /// Files that only the source reaches are copied, so that a target need not reach them.
    #[serde(default)]
    pub copies_storage: bool,
    /// Processors are not compared.
    #[serde(default)]
    pub skips_cpu_check: bool,
    /// What checks before moves have found of late, by guest.
    #[serde(default)]
    pub refused: BTreeMap<GuestId, KnownRefusals>,
}

impl PlacementPolicy {
    /// How guests are moved, as far as it decides where they can go.
    pub const fn way(&self) -> Way {
        Way {
            mode: self.mode,
            copies_storage: self.copies_storage,
            skips_cpu_check: self.skips_cpu_check,
        }
    }

    /// As if this host were neither emptied nor asleep.
    pub fn open(&mut self, host: HostId) {
        self.draining.retain(|closed| *closed != host);
        self.asleep.remove(&host);
    }
}

/// A condition that targets must stay clear of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The condition.
    pub condition: Condition,
    /// Hosts it is about; empty means all.
    pub hosts: Vec<HostId>,
    /// Hosts that its rule watches; empty means all.
    #[serde(default)]
    pub watched: Vec<HostId>,
    /// The rule it comes from, for the reason.
    pub rule: String,
}

impl Ceiling {
    /// Whether it is about this host.
    pub fn is_about(&self, host: HostId) -> bool {
        self.hosts.is_empty() || self.hosts.contains(&host)
    }

    /// Whether its rule watches this host, so that an unknown value there counts against it.
    pub fn watches(&self, host: HostId) -> bool {
        self.is_about(host) && (self.watched.is_empty() || self.watched.contains(&host))
    }
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
            rules: Vec::new(),
            labels: Labels::new(),
            draining: Vec::new(),
            asleep: BTreeMap::new(),
            memory_overcommit: None,
            power_caps: Vec::new(),
            survive_failures: 0,
            initiative: Initiative::Own,
            mode: MigrationMode::Live,
            copies_storage: false,
            skips_cpu_check: false,
            refused: BTreeMap::new(),
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
    /// The wishes about this guest that must hold.
    required: Vec<&'a PlacementRule>,
}

impl<'a> PlacementCase<'a> {
    /// The wishes about this guest that must hold.
    fn required_rules(&self) -> impl Iterator<Item = &'a PlacementRule> {
        self.required.iter().copied()
    }

    /// Which of these guests, other than this one, are in the target's domain.
    fn others_in_target_domain(&self, guests: &[GuestId], scope: &Scope) -> Vec<GuestId> {
        let labels = &self.policy.labels;
        let target = domain_of(labels, scope, self.target.host.id);
        let there = |other: &GuestId| {
            let host = self.projection.host_of(*other);
            host.is_some_and(|host| domain_of(labels, scope, host) == target)
        };
        let own = self.guest.guest.id;
        guests.iter().copied().filter(|other| *other != own && there(other)).collect()
    }

    /// Whether the guest runs nowhere yet.
    fn is_new(&self) -> bool {
        self.guest.guest.host == HostId::from_u128(0)
    }

    fn stays_in_domain(&self, guest: GuestId, scope: &Scope) -> bool {
        let labels = &self.policy.labels;
        self.projection.host_of(guest).is_some_and(|home| {
            domain_of(labels, scope, home) == domain_of(labels, scope, self.target.host.id)
        })
    }

    fn guest_names(&self, guests: &[GuestId]) -> String {
        let names = guests.iter().map(|guest| self.projection.view().guest_name(*guest));
        names.collect::<Vec<String>>().join(", ")
    }
}

type MovableCheck = fn(&MovableCase<'_>) -> Verdict;
type PlacementCheck = fn(&PlacementCase<'_>) -> Verdict;

const MOVABLE: &[(Constraint, MovableCheck)] = &[
    (Constraint::Selected, selected::check),
    (Constraint::GuestState, guest_state::check),
    (Constraint::UnderWay, under_way::check),
    (Constraint::Cooldown, cooldown::check),
    (Constraint::Device, device::check),
    (Constraint::EmulatedMemory, emulated::check),
    (Constraint::Preflight, preflight::movable),
];

const PLACEMENT: &[(Constraint, PlacementCheck)] = &[
    (Constraint::AllowedTarget, allowed_target::check),
    (Constraint::HostState, host_state::check),
    (Constraint::Peer, peer::check),
    (Constraint::Architecture, architecture::check),
    (Constraint::MachineType, machine_type::check),
    (Constraint::CpuModel, cpu_model::check),
    (Constraint::Storage, storage::check),
    (Constraint::Network, network::check),
    (Constraint::FreshSamples, fresh::check),
    (Constraint::Memory, memory::check),
    (Constraint::Threshold, threshold::check),
    (Constraint::Draining, draining::check),
    (Constraint::OnHosts, on_hosts::check),
    (Constraint::Apart, apart::check),
    (Constraint::Together, together::check),
    (Constraint::Spread, spread::check),
    (Constraint::Overcommit, overcommit::check),
    (Constraint::Preflight, preflight::placement),
    (Constraint::PowerCap, power_cap::check),
];

/// Placement constraints that no move of another guest can change: what the pair of guest
/// and host alone decides.
const STATIC: &[Constraint] = &[
    Constraint::HostState,
    Constraint::Peer,
    Constraint::Architecture,
    Constraint::MachineType,
    Constraint::CpuModel,
    Constraint::Storage,
    Constraint::Network,
    Constraint::FreshSamples,
    Constraint::Draining,
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
    if let Some(reason) = asleep::check(policy, &target.host) {
        return vec![Refusal { constraint: Constraint::Asleep, reason }];
    }
    let source = view.hosts.get(&guest.guest.host);
    let about =
        |rule: &&PlacementRule| rule.is_required() && rule.guests().contains(&guest.guest.id);
    let required = policy.rules.iter().filter(about).collect();
    let case = PlacementCase { guest, source, target, projection, policy, required };
    refusals(PLACEMENT.iter().map(|(name, check)| (*name, check(&case))))
}

/// [`check_placement`] of the constraints that depend on guest and host alone, not on
/// where other guests are: hosts that are alike answer alike.
pub fn allows_statically(
    projection: &Projection<'_>,
    policy: &PlacementPolicy,
    guest: &GuestView,
    target: &HostView,
) -> bool {
    if policy.asleep.contains_key(&target.host.id) {
        return false;
    }
    let source = projection.view().hosts.get(&guest.guest.host);
    let required = Vec::new();
    let case = PlacementCase { guest, source, target, projection, policy, required };
    PLACEMENT
        .iter()
        .filter(|(name, _)| STATIC.contains(name))
        .all(|(_, check)| check(&case) == Verdict::Allowed)
}

fn refusals(verdicts: impl Iterator<Item = (Constraint, Verdict)>) -> Vec<Refusal> {
    verdicts
        .filter_map(|(constraint, verdict)| match verdict {
            Verdict::Allowed => None,
            Verdict::Refused(reason) => Some(Refusal { constraint, reason }),
        })
        .collect()
}

fn unknown(kind: &str, id: impl std::fmt::Display) -> Refusal {
    Refusal { constraint: Constraint::Known, reason: format!("there is no {kind} {id}") }
}

impl Verdict {
    /// Refused with `reason` unless `allowed`.
    fn unless(allowed: bool, reason: impl FnOnce() -> String) -> Self {
        if allowed { Self::Allowed } else { Self::Refused(reason()) }
    }
}
