//! Looks at moves before they begin: which are under way, and which came out well.
//!
//! A look that came out well counts for a while. It is lost with the process: then one more
//! look is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drover_model::{HostId, OperationId, Timestamp};

use super::Live;

/// A look counts for so long: ports and CPUs do not change from one minute to the next, and a
/// move that waited longer is looked at once more.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Looks at once: each asks four questions at most, a sixteenth of those that may wait.
const MOST: usize = 64;
/// Looks at once at guests of one host: enough that one target that is silent does not keep
/// its guests from the others, and few enough for its agent.
const MOST_OF_SOURCE: usize = 8;
/// Looks at once at moves from one host to one other: what a silent target holds up.
const MOST_OF_PAIR: usize = 2;

/// All looks.
#[derive(Debug, Default)]
pub(super) struct Looks {
    under_way: BTreeMap<OperationId, (HostId, HostId)>,
    clear: BTreeMap<OperationId, Timestamp>,
}

impl Looks {
    fn has_room(&self, from: HostId, to: HostId) -> bool {
        let of_source = self.under_way.values().filter(|pair| pair.0 == from).count();
        let of_pair = self.under_way.values().filter(|pair| **pair == (from, to)).count();
        self.under_way.len() < MOST && of_source < MOST_OF_SOURCE && of_pair < MOST_OF_PAIR
    }
}

/// A look that is under way; it is over when this is dropped.
#[derive(Debug)]
pub struct Look {
    live: Arc<Live>,
    operation: OperationId,
}

impl Look {
    /// The move that is looked at.
    pub const fn operation(&self) -> OperationId {
        self.operation
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.live.lock().looks.under_way.remove(&self.operation);
    }
}

impl Live {
    /// Begins to look at a move, unless too many are looked at.
    pub fn begin_look(
        self: &Arc<Self>,
        operation: OperationId,
        from: HostId,
        to: HostId,
    ) -> Option<Look> {
        let mut inner = self.lock();
        let looks = &mut inner.looks;
        if !looks.has_room(from, to) || looks.under_way.contains_key(&operation) {
            return None;
        }
        looks.under_way.insert(operation, (from, to));
        drop(inner);
        Some(Look { live: Arc::clone(self), operation })
    }

    /// Whether one more move between these hosts may be looked at.
    pub fn has_room_to_look(&self, from: HostId, to: HostId) -> bool {
        self.lock().looks.has_room(from, to)
    }

    /// Nothing speaks against a move.
    pub fn looks_clear(&self, operation: OperationId, now: Timestamp) {
        self.lock().looks.clear.insert(operation, now);
    }

    /// Whether a move was looked at a moment ago, and nothing spoke against it.
    pub fn is_clear_to_begin(&self, operation: OperationId, now: Timestamp) -> bool {
        let inner = self.lock();
        inner.looks.clear.get(&operation).is_some_and(|at| now.since(*at) <= GOOD_FOR)
    }

    /// Moves that are looked at now.
    pub fn looked_at(&self) -> BTreeSet<OperationId> {
        self.lock().looks.under_way.keys().copied().collect()
    }

    /// Forgets the looks at moves that do not wait any more.
    pub fn keep_looks(&self, waits: impl Fn(OperationId) -> bool) {
        self.lock().looks.clear.retain(|operation, _| waits(*operation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HostId = HostId::from_u128(1);
    const B: HostId = HostId::from_u128(2);

    fn operation(number: usize) -> OperationId {
        OperationId::from_u128(u128::try_from(number).unwrap())
    }

    #[test]
    fn a_silent_target_holds_up_little() {
        let live = Arc::new(Live::default());
        let look = |n, to| live.begin_look(operation(n), A, to);
        let held: Vec<Look> = (0..MOST_OF_PAIR).filter_map(|n| look(n, B)).collect();
        assert_eq!(held.len(), MOST_OF_PAIR);
        assert!(look(10, B).is_none(), "the pair is full");
        assert!(look(0, HostId::from_u128(3)).is_none(), "it is looked at already");
        let others: Vec<Look> = (0..20)
            .filter_map(|n| look(20 + n, HostId::from_u128(30 + u128::try_from(n).unwrap())))
            .collect();
        assert_eq!(others.len(), MOST_OF_SOURCE - MOST_OF_PAIR);
        drop(held);
        assert!(look(10, B).is_some());
    }

    #[test]
    fn a_look_that_came_out_well_counts_for_a_while() {
        let live = Arc::new(Live::default());
        let now = Timestamp::from_millis(1_000_000);
        live.looks_clear(operation(1), now);
        assert!(live.is_clear_to_begin(operation(1), now.plus(GOOD_FOR)));
        assert!(!live.is_clear_to_begin(operation(1), now.plus(GOOD_FOR * 2)));
        live.keep_looks(|_| false);
        assert!(!live.is_clear_to_begin(operation(1), now));
    }
}
