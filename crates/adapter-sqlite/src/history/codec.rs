//! Entities and values as bytes.

use drover_model::{GuestId, HostId, Metric};
use drover_ports::Entity;

const HOST: u8 = b'h';
const GUEST: u8 = b'g';
/// One metric code and one little-endian f64.
const VALUE_BYTES: usize = 9;

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
