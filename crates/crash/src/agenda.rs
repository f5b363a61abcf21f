//! What happens when, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual time, milliseconds since the schedule began.
pub(crate) type At = u64;

/// Events by time; those of one moment in the order in which they were entered.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    entered: u64,
    now: At,
}

#[derive(Debug)]
struct Entry<E> {
    key: (At, u64),
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl<E> Agenda<E> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), entered: 0, now: 0 }
    }

    pub(crate) const fn now(&self) -> At {
        self.now
    }

    /// Enters an event `after` milliseconds from now.
    pub(crate) fn after(&mut self, after: At, event: E) {
        self.entered += 1;
        self.heap.push(Reverse(Entry { key: (self.now + after, self.entered), event }));
    }

    /// The next event, if it is due by `end`; time moves to it.
    pub(crate) fn next(&mut self, end: At) -> Option<E> {
        if self.heap.peek()?.0.key.0 > end {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.key.0;
        Some(entry.event)
    }
}
