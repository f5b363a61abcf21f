//! Samples at full rate.

use std::collections::BTreeMap;

use drover_model::{Metric, Timestamp};
use drover_ports::{Entity, SamplePoint};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::blocks::{self, BLOCK, Samples};
use super::codec::{decode, encode, entity_of, key_of};
use super::marks::{EntityId, Mark, ROLLED, last_of, outdate};

/// The number of an entity that has samples or rollups.
pub(super) fn known(connection: &Connection, entity: Entity) -> rusqlite::Result<Option<EntityId>> {
    connection
        .prepare_cached("SELECT id FROM entity WHERE key = ?1")?
        .query_row([key_of(entity)], |row| row.get(0))
        .optional()
}

/// Every entity's number.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<EntityId>> {
    connection
        .prepare_cached("SELECT id FROM entity ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect()
}

pub(super) fn append(connection: &Connection, points: Vec<SamplePoint>) -> rusqlite::Result<()> {
    let begin = Mark::FullBegins.get(connection)?;
    let mut rolled = Vec::new();
    for resolution in ROLLED {
        rolled.push((resolution, Mark::RolledUntil(resolution).get(connection)?));
    }
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO recent VALUES (?1, ?2, ?3)")?;
    for point in points.into_iter().map(SamplePoint::canonical) {
        if point.at < begin {
            continue;
        }
        let id = match known(connection, point.entity)? {
            Some(id) => id,
            None => {
                connection
                    .prepare_cached("INSERT INTO entity (key) VALUES (?1)")?
                    .execute([key_of(point.entity)])?;
                connection.last_insert_rowid()
            }
        };
        insert.execute(params![point.at.as_millis(), id, encode(&point.values)])?;
        for (resolution, until) in &rolled {
            if point.at < *until {
                outdate(connection, *resolution, id, point.at)?;
            }
        }
    }
    Ok(())
}

pub(super) fn window(
    connection: &Connection,
    from: Timestamp,
    to: Timestamp,
) -> rusqlite::Result<Vec<SamplePoint>> {
    let mut found: BTreeMap<(EntityId, Timestamp), Vec<(Metric, f64)>> = BTreeMap::new();
    if from < Mark::RolledUntil(BLOCK).get(connection)? {
        let mut select = connection.prepare_cached(
            "SELECT id, at, samples FROM entity CROSS JOIN block ON entity = id
             WHERE at BETWEEN ?1 AND ?2",
        )?;
        let mut rows = select.query([BLOCK.start_of(from).as_millis(), to.as_millis()])?;
        while let Some(row) = rows.next()? {
            let (id, start) = (row.get(0)?, Timestamp::from_millis(row.get(1)?));
            blocks::decode(start, row.get_ref(2)?.as_blob()?, |at, values| {
                if (from..=to).contains(&at) {
                    found.insert((id, at), decode(values));
                }
            });
        }
    }
    let mut select = connection
        .prepare_cached("SELECT entity, at, vals FROM recent WHERE at BETWEEN ?1 AND ?2")?;
    let mut rows = select.query([from.as_millis(), to.as_millis()])?;
    while let Some(row) = rows.next()? {
        let at = Timestamp::from_millis(row.get(1)?);
        found.insert((row.get(0)?, at), decode(row.get_ref(2)?.as_blob()?));
    }
    let entities = entities(connection)?;
    let mut points: Vec<SamplePoint> = found
        .into_iter()
        .filter_map(|((id, at), values)| {
            Some(SamplePoint { entity: *entities.get(&id)?, at, values })
        })
        .collect();
    points.sort_by_key(|point| (point.entity, point.at));
    Ok(points)
}

fn entities(connection: &Connection) -> rusqlite::Result<BTreeMap<EntityId, Entity>> {
    let mut select = connection.prepare_cached("SELECT id, key FROM entity")?;
    let rows =
        select.query_map([], |row| Ok((row.get(0)?, entity_of(row.get_ref(1)?.as_blob()?))))?;
    let mut all = BTreeMap::new();
    for row in rows {
        let (id, entity) = row?;
        all.extend(entity.map(|entity| (id, entity)));
    }
    Ok(all)
}

/// One metric of one entity, oldest first.
pub(super) fn of(
    connection: &Connection,
    entity: EntityId,
    metric: Metric,
    from: Timestamp,
    to: Timestamp,
) -> rusqlite::Result<Vec<(Timestamp, f64)>> {
    let mut samples = Vec::new();
    each(connection, entity, (from, to), |at, values| {
        samples.extend(
            values.into_iter().find(|(name, _)| *name == metric).map(|(_, value)| (at, value)),
        );
    })?;
    Ok(samples)
}

/// Hands over each sample of one entity, oldest first.
fn each(
    connection: &Connection,
    entity: EntityId,
    (from, to): (Timestamp, Timestamp),
    mut take: impl FnMut(Timestamp, Vec<(Metric, f64)>),
) -> rusqlite::Result<()> {
    let mut found = Samples::new();
    let mut select = connection.prepare_cached(
        "SELECT at, samples FROM block WHERE entity = ?1 AND at BETWEEN ?2 AND ?3",
    )?;
    let bounds = [entity, BLOCK.start_of(from).as_millis(), to.as_millis()];
    let mut rows = select.query(bounds)?;
    while let Some(row) = rows.next()? {
        let start = Timestamp::from_millis(row.get(0)?);
        blocks::decode(start, row.get_ref(1)?.as_blob()?, |at, values| {
            if (from..=to).contains(&at) {
                found.insert(at, values.to_vec());
            }
        });
    }
    recent_of(connection, entity, (from, to), &mut found)?;
    for (at, values) in found {
        take(at, decode(&values));
    }
    Ok(())
}

/// Adds the recent samples of one entity; they count where a block has the same moment.
fn recent_of(
    connection: &Connection,
    entity: EntityId,
    (from, to): (Timestamp, Timestamp),
    samples: &mut Samples,
) -> rusqlite::Result<()> {
    let mut select = connection
        .prepare_cached("SELECT at, vals FROM recent WHERE at BETWEEN ?1 AND ?2 AND entity = ?3")?;
    let mut rows = select.query([from.as_millis(), to.as_millis(), entity])?;
    while let Some(row) = rows.next()? {
        samples.insert(Timestamp::from_millis(row.get(0)?), row.get(1)?);
    }
    Ok(())
}

/// Moves the recent samples of one entity in one bucket to its block; returns all that the
/// block then has.
pub(super) fn pack_one(
    connection: &Connection,
    entity: EntityId,
    start: Timestamp,
) -> rusqlite::Result<Samples> {
    let span = (start, last_of(BLOCK, start));
    let mut samples = blocks::read(connection, entity, start)?;
    recent_of(connection, entity, span, &mut samples)?;
    blocks::write(connection, entity, start, &samples)?;
    connection
        .prepare_cached("DELETE FROM recent WHERE at BETWEEN ?1 AND ?2 AND entity = ?3")?
        .execute([span.0.as_millis(), span.1.as_millis(), entity])?;
    Ok(samples)
}

/// Moves the recent samples of everyone in one bucket to blocks; hands over each block.
pub(super) fn pack_all(
    connection: &Connection,
    start: Timestamp,
    mut packed: impl FnMut(EntityId, &Samples) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let (first, last) = (start.as_millis(), last_of(BLOCK, start).as_millis());
    // Not all at once: a bucket of many thousand guests is large.
    for part in all(connection)?.chunks(ENTITIES_AT_ONCE) {
        let (Some(low), Some(high)) = (part.first(), part.last()) else { continue };
        let mut of_entity: BTreeMap<EntityId, Samples> = BTreeMap::new();
        let mut select = connection.prepare_cached(
            "SELECT entity, at, vals FROM recent
             WHERE at BETWEEN ?1 AND ?2 AND entity BETWEEN ?3 AND ?4",
        )?;
        let mut rows = select.query([first, last, *low, *high])?;
        while let Some(row) = rows.next()? {
            let at = Timestamp::from_millis(row.get(1)?);
            of_entity.entry(row.get(0)?).or_default().insert(at, row.get(2)?);
        }
        for (entity, recent) in of_entity {
            let mut samples = blocks::read(connection, entity, start)?;
            samples.extend(recent);
            blocks::write(connection, entity, start, &samples)?;
            packed(entity, &samples)?;
        }
    }
    connection
        .prepare_cached("DELETE FROM recent WHERE at BETWEEN ?1 AND ?2")?
        .execute([first, last])?;
    Ok(())
}

/// The first recent sample of anyone from a moment on.
pub(super) fn first_recent(
    connection: &Connection,
    from: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(at) FROM recent WHERE at >= ?1")?
        .query_row([from.as_millis()], |row| row.get(0))?;
    Ok(first.map(Timestamp::from_millis))
}

/// The first sample of all, or the start of its block.
pub(super) fn first(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let packed: Option<i64> = connection
        .prepare_cached("SELECT min((SELECT min(at) FROM block WHERE entity = id)) FROM entity")?
        .query_row([], |row| row.get(0))?;
    let recent = first_recent(connection, Timestamp::from_millis(i64::MIN))?;
    Ok(packed.map(Timestamp::from_millis).into_iter().chain(recent).min())
}

/// Drops what is older; `before` is the start of a block.
pub(super) fn drop_before(connection: &Connection, before: Timestamp) -> rusqlite::Result<()> {
    for entity in all(connection)? {
        connection
            .prepare_cached("DELETE FROM block WHERE entity = ?1 AND at < ?2")?
            .execute([entity, before.as_millis()])?;
    }
    connection.prepare_cached("DELETE FROM recent WHERE at < ?1")?.execute([before.as_millis()])?;
    Ok(())
}

/// Entities whose bucket is held in memory at once.
const ENTITIES_AT_ONCE: usize = 4096;
