//! Entities and values as bytes.

use drover_model::{GuestId, HostId, Metric, Timestamp};
use drover_ports::{Entity, SeriesPoint};

const HOST: u8 = b'h';
const GUEST: u8 = b'g';
/// One metric code and one little-endian f64.
const VALUE_BYTES: usize = 9;
/// One metric code, a little-endian u32 and three little-endian f32.
const SUMMARY_BYTES: usize = 17;

pub(super) fn key_of(entity: Entity) -> Vec<u8> {
    let (kind, id) = match &entity {
        Entity::Host(id) => (HOST, *id.as_bytes()),
        Entity::Guest(id) => (GUEST, *id.as_bytes()),
    };
    [&[kind][..], &id[..]].concat()
}

pub(super) fn entity_of(key: &[u8]) -> Option<Entity> {
    let (kind, id) = key.split_first()?;
    let id: [u8; 16] = id.try_into().ok()?;
    match *kind {
        HOST => Some(Entity::Host(HostId::from_bytes(id))),
        GUEST => Some(Entity::Guest(GuestId::from_bytes(id))),
        _ => None,
    }
}

pub(super) fn encode(values: &[(Metric, f64)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * VALUE_BYTES);
    for (metric, value) in values {
        bytes.push(metric.code());
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// Metrics that this version does not know are skipped.
pub(super) fn decode(bytes: &[u8]) -> Vec<(Metric, f64)> {
    bytes
        .chunks_exact(VALUE_BYTES)
        .filter_map(|chunk| {
            let value = f64::from_le_bytes(chunk[1..].try_into().ok()?);
            Some((Metric::from_code(chunk[0])?, value))
        })
        .collect()
}

/// The samples of one metric in a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary {
    count: u32,
    mean: f64,
    min: f64,
    max: f64,
}

impl Summary {
    pub(super) fn of(value: f64) -> Self {
        Self { count: 1, mean: value, min: value, max: value }
    }

    /// With those of another part of the bucket.
    pub(super) fn add(&mut self, part: &Self) {
        let count = self.count.saturating_add(part.count);
        let share = f64::from(part.count) / f64::from(count.max(1));
        *self = Self {
            count,
            mean: self.mean * (1.0 - share) + part.mean * share,
            min: self.min.min(part.min),
            max: self.max.max(part.max),
        };
    }

    pub(super) fn at(&self, at: Timestamp) -> SeriesPoint {
        SeriesPoint { at, mean: self.mean, min: self.min, max: self.max, count: self.count }
    }
}

/// Six digits are enough for buckets, and half the room.
#[allow(clippy::cast_possible_truncation, reason = "clamped to the range, rounded on purpose")]
fn rounded(value: f64) -> [u8; 4] {
    (value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32).to_le_bytes()
}

pub(super) fn encode_summaries<'a>(
    summaries: impl Iterator<Item = (&'a Metric, &'a Summary)>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (metric, summary) in summaries {
        bytes.push(metric.code());
        bytes.extend_from_slice(&summary.count.to_le_bytes());
        for value in [summary.mean, summary.min, summary.max] {
            bytes.extend_from_slice(&rounded(value));
        }
    }
    bytes
}

/// Metrics that this version does not know are skipped.
pub(super) fn decode_summaries(bytes: &[u8]) -> Vec<(Metric, Summary)> {
    let word = |chunk: &[u8], from: usize| chunk[from..from + 4].try_into().unwrap_or_default();
    let value = |chunk: &[u8], from| f64::from(f32::from_le_bytes(word(chunk, from)));
    bytes
        .chunks_exact(SUMMARY_BYTES)
        .filter_map(|chunk| {
            let count = u32::from_le_bytes(word(chunk, 1));
            let (mean, min, max) = (value(chunk, 5), value(chunk, 9), value(chunk, 13));
            Some((Metric::from_code(chunk[0])?, Summary { count, mean, min, max }))
        })
        .collect()
}
