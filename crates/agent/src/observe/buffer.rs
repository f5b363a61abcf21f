//! Samples that the controller has not acknowledged yet.
//!
//! Kept encoded: a value is about ten bytes so, and nobody looks into them again.

use std::collections::VecDeque;
use std::time::Duration;

use drover_agent_api::v1::{Sample, Samples};
use drover_model::Timestamp;
use prost::Message;

/// Older samples are dropped: a controller that was away for longer has other worries.
pub const MAX_AGE: Duration = Duration::from_secs(6 * 3600);

/// More are not kept, whatever their age.
pub const MAX_BYTES: usize = 64 << 20;

/// What one entry costs beside its bytes.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// Samples waiting for their acknowledgement, the oldest first.
#[derive(Debug)]
pub struct SampleBuffer {
    entries: VecDeque<Entry>,
    bytes: usize,
    last_sequence: u64,
    dropped: u64,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    at: Timestamp,
    encoded: Box<[u8]>,
}

impl Default for SampleBuffer {
    fn default() -> Self {
        Self::with_limit(MAX_BYTES)
    }
}

impl SampleBuffer {
    /// A buffer that drops its oldest entries beyond `max_bytes`.
    pub const fn with_limit(max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, last_sequence: 0, dropped: 0, max_bytes }
    }

    /// Keeps the samples of one moment and gives them the next sequence number.
    pub fn push(&mut self, at: Timestamp, samples: Vec<Sample>) -> u64 {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let encoded = Samples { sequence, samples }.encode_to_vec().into_boxed_slice();
        self.bytes += encoded.len() + ENTRY_BYTES;
        self.entries.push_back(Entry { sequence, at, encoded });
        while self.bytes > self.max_bytes || self.oldest_age(at) > MAX_AGE {
            self.remove_oldest();
            self.dropped += 1;
        }
        sequence
    }

    /// Forgets everything up to `sequence`.
    pub fn acknowledge(&mut self, sequence: u64) {
        while self.entries.front().is_some_and(|entry| entry.sequence <= sequence) {
            self.remove_oldest();
        }
        if self.entries.is_empty() {
            // A long absence of the controller must not cost memory for ever.
            self.entries.shrink_to(64);
        }
    }

    /// The oldest kept samples after `sequence`.
    pub fn after(&self, sequence: u64) -> Option<Samples> {
        let next = self.entries.partition_point(|entry| entry.sequence <= sequence);
        let entry = self.entries.get(next)?;
        Samples::decode(&*entry.encoded).ok()
    }

    /// How many moments are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many moments were dropped before they were acknowledged.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn oldest_age(&self, now: Timestamp) -> Duration {
        self.entries.front().map_or(Duration::ZERO, |entry| now.since(entry.at))
    }

    fn remove_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.encoded.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_agent_api::v1::{Value, sample::Entity};

    fn samples() -> Vec<Sample> {
        let values = vec![Value { metric: 1, value: 50.0 }];
        vec![Sample { entity: Some(Entity::Host(true)), at_ms: 5, values }]
    }

    fn filled(count: i64) -> SampleBuffer {
        let mut buffer = SampleBuffer::default();
        for second in 0..count {
            buffer.push(Timestamp::from_millis(second * 1000), samples());
        }
        buffer
    }

    #[test]
    fn samples_stay_until_they_are_acknowledged() {
        let mut buffer = filled(3);
        assert_eq!(buffer.after(0).unwrap().sequence, 1);
        assert_eq!(buffer.after(1).unwrap().samples, samples());
        buffer.acknowledge(2);
        assert_eq!(buffer.after(0).unwrap().sequence, 3);
        assert_eq!(buffer.after(3), None);
        buffer.acknowledge(1);
        buffer.acknowledge(99);
        assert!(buffer.is_empty());
        assert_eq!(buffer.push(Timestamp::EPOCH, samples()), 4);
        assert_eq!((buffer.dropped(), buffer.len()), (0, 1));
    }

    #[test]
    fn the_oldest_are_dropped_and_counted() {
        let mut buffer = filled(1);
        let later = Timestamp::EPOCH.plus(MAX_AGE + Duration::from_secs(1));
        buffer.push(later, samples());
        assert_eq!((buffer.dropped(), buffer.after(0).unwrap().sequence), (1, 2));

        let mut small = SampleBuffer::with_limit(500);
        for _ in 0..1000 {
            small.push(Timestamp::EPOCH, samples());
            assert!(small.bytes <= 500);
        }
        assert_eq!(small.dropped(), 1000 - small.len() as u64);
        small.acknowledge(u64::MAX);
        assert_eq!(small.bytes, 0);
    }
}
