//! Samples at full rate.

use drover_model::{Metric, Timestamp};
use drover_ports::{Entity, SamplePoint};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::codec::{decode, encode, entity_of, key_of};
use super::marks::{EntityId, Mark, ROLLED, outdate};

/// The number of an entity that has samples or rollups.
pub(super) fn known(connection: &Connection, entity: Entity) -> rusqlite::Result<Option<EntityId>> {
    connection
        .prepare_cached("SELECT id FROM entity WHERE key = ?1")?
        .query_row([key_of(entity)], |row| row.get(0))
        .optional()
}

/// Every entity's number.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<EntityId>> {
    connection.prepare_cached("SELECT id FROM entity")?.query_map([], |row| row.get(0))?.collect()
}

pub(super) fn append(connection: &Connection, points: Vec<SamplePoint>) -> rusqlite::Result<()> {
    let begin = Mark::FullBegins.get(connection)?;
    let mut rolled = Vec::new();
    for resolution in ROLLED {
        rolled.push((resolution, Mark::RolledUntil(resolution).get(connection)?));
    }
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO sample VALUES (?1, ?2, ?3)")?;
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
        insert.execute(params![id, point.at.as_millis(), encode(&point.values)])?;
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
    let mut select = connection.prepare_cached(
        "SELECT key, at, vals FROM entity CROSS JOIN sample ON entity = id
         WHERE at BETWEEN ?1 AND ?2",
    )?;
    let rows = select.query_map([from.as_millis(), to.as_millis()], |row| {
        let values = decode(row.get_ref(2)?.as_blob()?);
        let at = Timestamp::from_millis(row.get(1)?);
        Ok(entity_of(row.get_ref(0)?.as_blob()?).map(|entity| SamplePoint { entity, at, values }))
    })?;
    let mut points: Vec<SamplePoint> =
        rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?;
    points.sort_by_key(|point| (point.entity, point.at));
    Ok(points)
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
pub(super) fn each(
    connection: &Connection,
    entity: EntityId,
    (from, to): (Timestamp, Timestamp),
    mut take: impl FnMut(Timestamp, Vec<(Metric, f64)>),
) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(
        "SELECT at, vals FROM sample WHERE entity = ?1 AND at BETWEEN ?2 AND ?3 ORDER BY at",
    )?;
    let mut rows = select.query(params![entity, from.as_millis(), to.as_millis()])?;
    while let Some(row) = rows.next()? {
        take(Timestamp::from_millis(row.get(0)?), decode(row.get_ref(1)?.as_blob()?));
    }
    Ok(())
}

/// The first sample of anyone from a moment on.
pub(super) fn first_from(
    connection: &Connection,
    from: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let first: Option<i64> = connection
        .prepare_cached(
            "SELECT min((SELECT min(at) FROM sample WHERE entity = id AND at >= ?1)) FROM entity",
        )?
        .query_row([from.as_millis()], |row| row.get(0))?;
    Ok(first.map(Timestamp::from_millis))
}
