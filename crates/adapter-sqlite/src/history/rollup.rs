//! Rollups: buckets of five minutes from samples, hours from those. A bucket is computed
//! once it is complete, and again when a sample came late; until then it is computed on
//! reading.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{Metric, Timestamp};
use drover_ports::memory::roll_up;
use drover_ports::{Resolution, SeriesPoint};
use rusqlite::{Connection, params};

use super::blocks::{BLOCK, Samples};
use super::codec::{Summary, decode, decode_summaries, encode_summaries};
use super::marks::{EntityId, Mark, ROLLED, code, last_of};
use super::samples;

/// A bucket is rolled up when it is complete and late samples had this long to come, so
/// that few are computed twice. Rules mostly look back two minutes: all of it is recent.
const LATE: Duration = Duration::from_secs(120);
/// Buckets computed again in one turn.
const STALE_A_TURN: i64 = 1000;

/// Does a bounded part of the work; whether there is more.
pub(super) fn turn(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    for resolution in ROLLED {
        if mend(connection, resolution)? || roll(connection, now, resolution)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Computes again what is outdated; whether there was anything.
fn mend(connection: &Connection, resolution: Resolution) -> rusqlite::Result<bool> {
    let stale: Vec<(EntityId, i64)> = connection
        .prepare_cached("SELECT entity, at FROM stale WHERE bucket = ?1 LIMIT ?2")?
        .query_map([code(resolution), STALE_A_TURN], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (entity, at) in &stale {
        compute(connection, resolution, *entity, Timestamp::from_millis(*at))?;
        connection
            .prepare_cached("DELETE FROM stale WHERE bucket = ?1 AND entity = ?2 AND at = ?3")?
            .execute([code(resolution), *entity, *at])?;
    }
    Ok(!stale.is_empty())
}

/// Rolls up the next complete bucket, of every entity; whether there was one.
fn roll(connection: &Connection, now: Timestamp, resolution: Resolution) -> rusqlite::Result<bool> {
    let mark = Mark::RolledUntil(resolution);
    let complete = resolution.start_of(now.minus(LATE));
    let until = mark.get(connection)?;
    if until >= complete {
        return Ok(false);
    }
    let first = match resolution {
        BLOCK => samples::first_recent(connection, until)?,
        _ => first_from(connection, BLOCK, until)?,
    };
    let next = first.map(|at| resolution.start_of(at));
    let Some(next) = next.filter(|next| *next < complete) else {
        // Nothing in between.
        mark.raise(connection, complete)?;
        return Ok(false);
    };
    if resolution == BLOCK {
        samples::pack_all(connection, next, |entity, samples| {
            store(connection, resolution, entity, next, &of_samples(samples))
        })?;
    } else {
        for entity in samples::all(connection)? {
            compute(connection, resolution, entity, next)?;
        }
    }
    let end = last_of(resolution, next).as_millis().saturating_add(1);
    mark.raise(connection, Timestamp::from_millis(end))?;
    Ok(true)
}

type Summaries = BTreeMap<Metric, Summary>;

fn add(all: &mut Summaries, metric: Metric, part: Summary) {
    all.entry(metric).and_modify(|whole| whole.add(&part)).or_insert(part);
}

fn of_samples(samples: &Samples) -> Summaries {
    let mut all = Summaries::new();
    for (metric, value) in samples.values().flat_map(|values| decode(values)) {
        add(&mut all, metric, Summary::of(value));
    }
    all
}

/// Computes one bucket of one entity from what it is made of.
fn compute(
    connection: &Connection,
    resolution: Resolution,
    entity: EntityId,
    start: Timestamp,
) -> rusqlite::Result<()> {
    let summaries = if resolution == BLOCK {
        of_samples(&samples::pack_one(connection, entity, start)?)
    } else {
        let mut all = Summaries::new();
        each(connection, BLOCK, entity, (start, last_of(resolution, start)), |_, parts| {
            parts.into_iter().for_each(|(metric, part)| add(&mut all, metric, part));
        })?;
        all
    };
    store(connection, resolution, entity, start, &summaries)
}

fn store(
    connection: &Connection,
    resolution: Resolution,
    entity: EntityId,
    start: Timestamp,
    summaries: &Summaries,
) -> rusqlite::Result<()> {
    if summaries.is_empty() {
        return Ok(());
    }
    connection.prepare_cached("INSERT OR REPLACE INTO rollup VALUES (?1, ?2, ?3, ?4)")?.execute(
        params![code(resolution), entity, start.as_millis(), encode_summaries(summaries.iter()),],
    )?;
    Ok(())
}

/// The first bucket of anyone from a moment on.
pub(super) fn first_from(
    connection: &Connection,
    resolution: Resolution,
    from: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let first: Option<i64> = connection
        .prepare_cached(
            "SELECT min((SELECT min(at) FROM rollup
                         WHERE bucket = ?1 AND entity = id AND at >= ?2)) FROM entity",
        )?
        .query_row([code(resolution), from.as_millis()], |row| row.get(0))?;
    Ok(first.map(Timestamp::from_millis))
}

/// Hands over each bucket of one entity, oldest first.
fn each(
    connection: &Connection,
    resolution: Resolution,
    entity: EntityId,
    (from, to): (Timestamp, Timestamp),
    mut take: impl FnMut(Timestamp, Vec<(Metric, Summary)>),
) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(
        "SELECT at, vals FROM rollup
         WHERE bucket = ?1 AND entity = ?2 AND at BETWEEN ?3 AND ?4 ORDER BY at",
    )?;
    let bounds = params![code(resolution), entity, from.as_millis(), to.as_millis()];
    let mut rows = select.query(bounds)?;
    while let Some(row) = rows.next()? {
        let summaries = decode_summaries(row.get_ref(1)?.as_blob()?);
        take(Timestamp::from_millis(row.get(0)?), summaries);
    }
    Ok(())
}

pub(super) fn series(
    connection: &Connection,
    entity: EntityId,
    metric: Metric,
    (from, to): (Timestamp, Timestamp),
    resolution: Resolution,
) -> rusqlite::Result<Vec<SeriesPoint>> {
    if from > to {
        return Ok(Vec::new());
    }
    let (first, last) = (resolution.start_of(from), resolution.start_of(to));
    let mut points = BTreeMap::new();
    each(connection, resolution, entity, (first, last), |at, summaries| {
        let found = summaries.into_iter().find(|(name, _)| *name == metric);
        points.extend(found.map(|(_, summary)| (at, summary.at(at))));
    })?;
    let mut fresh = |from, to| -> rusqlite::Result<()> {
        let samples = samples::of(connection, entity, metric, from, to)?;
        points.extend(
            roll_up(samples.into_iter(), resolution).into_iter().map(|point| (point.at, point)),
        );
        Ok(())
    };
    let until = Mark::RolledUntil(resolution).get(connection)?;
    fresh(first.max(until), last_of(resolution, last))?;
    let stale: Vec<i64> = connection
        .prepare_cached(
            "SELECT at FROM stale WHERE bucket = ?1 AND entity = ?2 AND at BETWEEN ?3 AND ?4",
        )?
        .query_map([code(resolution), entity, first.as_millis(), last.as_millis()], |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    for at in stale.into_iter().map(Timestamp::from_millis) {
        fresh(at, last_of(resolution, at))?;
    }
    Ok(points.into_values().collect())
}
