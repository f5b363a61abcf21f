//! The dense problem: guests and hosts are numbers, resources are columns.
//!
//! Whoever has a placement problem states it here: the product compiles its cluster
//! view, a benchmark its file. The search knows nothing else.

use super::group::Group;

/// "No such thing" among numbers.
pub const NONE: u32 = u32::MAX;

/// What there is to place, where it is, and what may be.
///
/// Tables are flat: `capacity[host * resources + resource]`, and `demand` alike by guest.
/// Quantities are `f64`; whole numbers below 2^53 stay exact.
#[derive(Debug, Clone, Default)]
pub struct Instance {
    /// Number of resources.
    pub resources: usize,
    /// What each guest holds at home of each resource once it has gone, by guest; empty
    /// when nothing lingers.
    pub lingers: Vec<f64>,
    /// What each host has of each resource; infinite where nothing limits it.
    pub capacity: Vec<f64>,
    /// What each host uses of each resource by itself.
    pub base: Vec<f64>,
    /// Hosts that take no guest.
    pub closed: Vec<bool>,
    /// For each level the domain of each host. Level 0 is the host itself; racks, rooms
    /// and the like follow.
    pub domains: Vec<Vec<u32>>,
    /// What each guest needs of each resource.
    pub demand: Vec<f64>,
    /// Where each guest is now.
    pub home: Vec<u32>,
    /// Guests that stay.
    pub fixed: Vec<bool>,
    /// The class of each guest: guests of one class may go to the same hosts.
    pub class: Vec<u32>,
    /// The classes.
    pub classes: Vec<Class>,
    /// Guests that constrain each other.
    pub groups: Vec<Group>,
    /// The groups of each guest.
    pub member_of: Vec<Vec<u32>>,
    /// What is to be low.
    pub objective: Objective,
}

/// Which hosts guests of a kind may use.
#[derive(Debug, Clone, Default)]
pub struct Class {
    /// Whether each host is allowed; empty means all are.
    pub allowed: Vec<bool>,
    /// What each host costs for one guest of the class; empty means nothing.
    pub dislike: Vec<f64>,
}

/// The sum of these is minimised.
#[derive(Debug, Clone, Default)]
pub struct Objective {
    /// Where overload begins, by host and resource; empty when it costs nothing.
    pub limit: Vec<f64>,
    /// Cost of one unit above the limit, by resource.
    pub overload: Vec<f64>,
    /// Resources that should be left in proportion.
    pub stranded: Vec<Stranded>,
    /// Resources that should be used evenly.
    pub imbalance: Vec<Imbalance>,
    /// Cost of a host that has a guest, by host; empty when it costs nothing.
    pub awake: Vec<f64>,
    /// Cost of each guest on a host, by host; empty when it costs nothing.
    pub shun: Vec<f64>,
    /// Cost of a guest that is away from home, by guest.
    pub displacement: Vec<f64>,
    /// Cost by home and host of a guest away from home; empty when it costs nothing.
    pub distance: Vec<f64>,
    /// Cost of the number of displaced members of the group that has most of them.
    pub group_moves: f64,
    /// Amount to send when a guest moves, by guest; only limits count it.
    pub bytes: Vec<f64>,
}

/// `weight × max(0, ratio × free(of) − free(with))` on every host.
#[derive(Debug, Clone, Copy)]
pub struct Stranded {
    /// The resource that is left over.
    pub of: usize,
    /// The one that would be needed with it.
    pub with: usize,
    /// How much of it each unit needs.
    pub ratio: f64,
    /// Cost of a unit.
    pub weight: f64,
}

/// `weight × standard deviation over the hosts of scale × use`.
#[derive(Debug, Clone)]
pub struct Imbalance {
    /// The resource.
    pub resource: usize,
    /// Factor by host, such as 1 / capacity; 0 for a host that does not count.
    pub scale: Vec<f64>,
    /// Cost of a deviation of one.
    pub weight: f64,
}

impl Instance {
    /// Number of hosts.
    pub const fn hosts(&self) -> usize {
        self.closed.len()
    }

    /// Number of guests.
    pub const fn guests(&self) -> usize {
        self.home.len()
    }

    /// What a guest needs.
    pub fn demand_of(&self, guest: usize) -> &[f64] {
        &self.demand[guest * self.resources..][..self.resources]
    }

    /// What stays taken at home when a guest leaves.
    pub fn lingering(&self, guest: usize, resource: usize) -> f64 {
        self.lingers.get(guest * self.resources + resource).copied().unwrap_or(0.0)
    }

    /// Whether the class of a guest lets it use a host that takes guests.
    pub fn may_use(&self, guest: usize, host: usize) -> bool {
        !self.closed[host] && self.class_allows(guest, host)
    }

    /// Whether the class of a guest lets it be on a host.
    pub fn class_allows(&self, guest: usize, host: usize) -> bool {
        let allowed = &self.classes[self.class[guest] as usize].allowed;
        allowed.is_empty() || allowed[host]
    }
}
