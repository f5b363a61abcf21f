//! Guests that constrain each other: apart, together, spread, near one another.

/// Guests with their laws.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The guests.
    pub members: Vec<u32>,
    /// What holds among them.
    pub laws: Vec<Law>,
}

/// What holds among the members of a group, and whether it must.
#[derive(Debug, Clone, Copy)]
pub struct Law {
    /// What.
    pub kind: LawKind,
    /// Level of the domains it is about; 0 is the host.
    pub level: usize,
    /// Cost of each unit of violation; infinite when it must hold. A hard law that is
    /// broken at the start costs [`BROKEN`] a unit, and no move may break it further.
    pub weight: f64,
}

/// What a hard law costs while it is broken: more than all else together.
pub const BROKEN: f64 = 1e6;

/// What can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LawKind {
    /// At most so many members in a domain. Violation: members above that.
    Apart {
        /// Most.
        most: u16,
    },
    /// Members in at least so many domains. Violation: domains that miss.
    Spread {
        /// Least.
        least: u16,
    },
    /// All members in one domain. Violation: members outside the fullest.
    Together,
    /// Each domain with a member has a member of another group. Violation: domains
    /// without.
    Near {
        /// The other group.
        other: u32,
    },
}

impl Law {
    /// Cost of one unit of violation.
    pub fn unit_cost(&self) -> f64 {
        if self.weight.is_finite() { self.weight } else { BROKEN }
    }

    /// Whether it must hold.
    pub const fn is_hard(&self) -> bool {
        self.weight == f64::INFINITY
    }
}
