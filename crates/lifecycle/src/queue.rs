//! Which admitted migrations may begin now.
//!
//! A migration waits until neither its source, its target, the pair of both nor the cluster
//! has as many under way as the limits allow. Classes come strictly one after the other; within
//! a class guests of a higher priority come first, and among equals the older. One that waits lets younger ones pass that need nothing of
//! what it needs; but the first of each class that has to wait keeps a place for itself on
//! each of its hosts, so that no stream of younger ones can hold it up for ever: it begins when
//! enough of those that were under way before it have ended.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use drover_model::{HostId, MigrationLimits, OperationId};
use serde::{Deserialize, Serialize};

/// What a migration is for. The order is that of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Its host is being emptied: somebody waits beside the machine with a new memory module,
    /// and while it waits the host serves nobody well.
    Evacuation,
    /// Somebody asked for this move and watches it. Before what Drover wants by itself, since
    /// a person knows something that Drover does not; behind an evacuation, which was asked for
    /// by a person as well and is not done before its last guest is.
    Request,
    /// A host has too much load.
    Relief,
    /// Loads could be more even.
    Balance,
    /// Hosts could be saved.
    Consolidation,
}

impl Urgency {
    /// All, the most urgent first.
    pub const ALL: [Self; 5] =
        [Self::Evacuation, Self::Request, Self::Relief, Self::Balance, Self::Consolidation];

    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evacuation => "evacuation",
            Self::Request => "request",
            Self::Relief => "relief",
            Self::Balance => "balance",
            Self::Consolidation => "consolidation",
        }
    }
}

impl fmt::Display for Urgency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A migration that has begun and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Where it sends from.
    pub from: HostId,
    /// Where it sends to.
    pub to: HostId,
}

/// A migration that may begin when it is its turn. Ids grow: the lower is the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Its class.
    pub urgency: Urgency,
    /// The guest's priority: the higher goes first within a class.
    pub priority: Reverse<i32>,
    /// The operation.
    pub operation: OperationId,
    /// Where it would send from.
    pub from: HostId,
    /// Where it would send to.
    pub to: HostId,
}

/// What a migration waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Its source sends as many as it may.
    Source {
        /// So many.
        busy: u32,
    },
    /// Its target takes as many as it may.
    Target {
        /// So many.
        busy: u32,
    },
    /// As many as may are under way between the two.
    Link {
        /// So many.
        busy: u32,
    },
    /// As many as may are under way in the cluster.
    Cluster {
        /// So many.
        busy: u32,
    },
    /// What is free is kept for this one, which comes first.
    Behind {
        /// The one before it.
        operation: OperationId,
    },
}

/// One place of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Who.
    pub waiting: Waiting,
    /// What it waits for; none when it may begin now.
    pub wait: Option<Wait>,
}

/// The queue in its order, with what each waits for. All that wait for nothing may begin
/// together.
pub fn schedule(
    limits: &MigrationLimits,
    hosts: usize,
    begun: &[Begun],
    waiting: &[Waiting],
) -> Vec<Place> {
    let mut order = waiting.to_vec();
    order.sort_unstable();
    let mut use_now = Use::default();
    for one in begun {
        use_now.take(one.from, one.to);
    }
    let mut kept: Vec<Waiting> = Vec::new();
    let mut places = Vec::with_capacity(order.len());
    for one in order {
        let full = use_now.full(limits, hosts, &one);
        let wait = full.or_else(|| {
            // With what is kept for others: the last of them is the one to name.
            let mut with_kept = use_now.clone();
            kept.iter().find_map(|first| {
                with_kept.take(first.from, first.to);
                let behind = with_kept.full(limits, hosts, &one).is_some();
                behind.then_some(Wait::Behind { operation: first.operation })
            })
        });
        match wait {
            None => use_now.take(one.from, one.to),
            // One of each class: later ones find their turn when it has begun.
            Some(_) if kept.last().is_none_or(|last| last.urgency != one.urgency) => {
                kept.push(one);
            }
            Some(_) => {}
        }
        places.push(Place { waiting: one, wait });
    }
    places
}

/// How many are under way, by what limits count.
#[derive(Debug, Clone, Default)]
struct Use {
    out: BTreeMap<HostId, u32>,
    into: BTreeMap<HostId, u32>,
    link: BTreeMap<(HostId, HostId), u32>,
    all: u32,
}

impl Use {
    fn take(&mut self, from: HostId, to: HostId) {
        *self.out.entry(from).or_default() += 1;
        *self.into.entry(to).or_default() += 1;
        *self.link.entry(pair(from, to)).or_default() += 1;
        self.all += 1;
    }

    /// The first limit that leaves no room for one more.
    fn full(&self, limits: &MigrationLimits, hosts: usize, one: &Waiting) -> Option<Wait> {
        let out = self.out.get(&one.from).copied().unwrap_or_default();
        let into = self.into.get(&one.to).copied().unwrap_or_default();
        let link = self.link.get(&pair(one.from, one.to)).copied().unwrap_or_default();
        // A limit of nought would be a queue that nothing leaves.
        [
            (out, limits.out_per_host, Wait::Source { busy: out }),
            (into, limits.in_per_host, Wait::Target { busy: into }),
            (link, limits.per_link, Wait::Link { busy: link }),
            (self.all, limits.in_cluster(hosts), Wait::Cluster { busy: self.all }),
        ]
        .into_iter()
        .find(|(busy, most, _)| *busy >= (*most).max(1))
        .map(|(_, _, wait)| wait)
    }
}

/// A link is the same whichever way it is used.
fn pair(a: HostId, b: HostId) -> (HostId, HostId) {
    if a <= b { (a, b) } else { (b, a) }
}
