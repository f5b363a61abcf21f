//! All samples of one entity in one bucket of five minutes, in one row.

use std::collections::BTreeMap;

use drover_model::Timestamp;
use drover_ports::Resolution;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::marks::EntityId;

/// How long a block is.
pub(super) const BLOCK: Resolution = Resolution::FiveMinutes;

/// Encoded values of samples by their moments.
pub(super) type Samples = BTreeMap<Timestamp, Vec<u8>>;

/// A little-endian u32, milliseconds from the start, and a u16, bytes of the values.
const HEAD: usize = 6;

/// The block of an entity that starts there; empty if there is none.
pub(super) fn read(
    connection: &Connection,
    entity: EntityId,
    start: Timestamp,
) -> rusqlite::Result<Samples> {
    let bytes: Option<Vec<u8>> = connection
        .prepare_cached("SELECT samples FROM block WHERE entity = ?1 AND at = ?2")?
        .query_row([entity, start.as_millis()], |row| row.get(0))
        .optional()?;
    let mut samples = Samples::new();
    decode(start, &bytes.unwrap_or_default(), |at, values| {
        samples.insert(at, values.to_vec());
    });
    Ok(samples)
}

/// Writes a block in place of the one there.
pub(super) fn write(
    connection: &Connection,
    entity: EntityId,
    start: Timestamp,
    samples: &Samples,
) -> rusqlite::Result<()> {
    let mut bytes = Vec::new();
    for (at, values) in samples {
        let offset = at.as_millis().saturating_sub(start.as_millis());
        bytes.extend_from_slice(&u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(values.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(values);
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO block VALUES (?1, ?2, ?3)")?
        .execute(params![entity, start.as_millis(), bytes])?;
    Ok(())
}

/// Hands over each sample of a block, oldest first.
pub(super) fn decode(start: Timestamp, mut bytes: &[u8], mut take: impl FnMut(Timestamp, &[u8])) {
    while let Some((head, rest)) = bytes.split_at_checked(HEAD) {
        let offset = u32::from_le_bytes(head[..4].try_into().unwrap_or_default());
        let length = usize::from(u16::from_le_bytes(head[4..].try_into().unwrap_or_default()));
        let Some((values, rest)) = rest.split_at_checked(length) else { return };
        take(Timestamp::from_millis(start.as_millis().saturating_add(offset.into())), values);
        bytes = rest;
    }
}
