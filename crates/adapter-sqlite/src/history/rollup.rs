//! Rollups: each bucket that is complete is computed once from full samples, then old
//! rows go. Buckets that are not rolled up yet are computed on reading.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{Metric, Timestamp};
use drover_ports::{Entity, Resolution, Retention, SeriesPoint};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::codec::key_of;
use super::{full_series, window};

/// A bucket is rolled up when it is complete and late samples had this long to come: the
/// agents buffer while the controller is away.
const LATE: Duration = Duration::from_secs(60);
/// Buckets rolled up in one turn, so that a long backlog does not hold the writer.
const BUCKETS_A_TURN: i64 = 24;
/// Pages given back to the file system in one turn.
const VACUUM_PAGES: i64 = 2000;

const ROLLED: [Resolution; 2] = [Resolution::FiveMinutes, Resolution::Hour];

/// Sum, smallest, largest and number of a bucket's samples.
type Sum = (f64, f64, f64, i64);

fn bucket_ms(resolution: Resolution) -> i64 {
    i64::try_from(resolution.bucket().as_millis()).unwrap_or(i64::MAX).max(1)
}

pub(super) fn compact(
    connection: &mut Connection,
    now: Timestamp,
    retention: Retention,
) -> rusqlite::Result<()> {
    for resolution in ROLLED {
        roll(connection, now, resolution)?;
    }
    let before = |span: Duration| now.minus(span).as_millis();
    connection.execute("DELETE FROM sample WHERE at < ?1", [before(retention.full)])?;
    for (resolution, kept) in
        [(Resolution::FiveMinutes, retention.five_minutes), (Resolution::Hour, retention.hour)]
    {
        let sql = "DELETE FROM rollup WHERE bucket = ?1 AND at < ?2";
        connection.execute(sql, [bucket_ms(resolution), before(kept)])?;
    }
    bound_size(connection, retention.max_bytes)?;
    connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))
}

fn roll(
    connection: &mut Connection,
    now: Timestamp,
    resolution: Resolution,
) -> rusqlite::Result<()> {
    let bucket = bucket_ms(resolution);
    let complete = now.minus(LATE).as_millis().div_euclid(bucket) * bucket;
    let Some(from) = rolled_until(connection, resolution)? else { return Ok(()) };
    let until = complete.min(from + bucket * BUCKETS_A_TURN);
    if from >= until {
        return Ok(());
    }
    let samples =
        window(connection, Timestamp::from_millis(from), Timestamp::from_millis(until - 1))?;
    let mut sums: BTreeMap<(Entity, Metric, i64), Sum> = BTreeMap::new();
    for point in samples {
        let start = point.at.as_millis().div_euclid(bucket) * bucket;
        for (metric, value) in point.values {
            let sum = sums.entry((point.entity, metric, start)).or_insert((
                0.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                0,
            ));
            *sum = (sum.0 + value, sum.1.min(value), sum.2.max(value), sum.3 + 1);
        }
    }
    let transaction = connection.transaction()?;
    for ((entity, metric, at), (sum, min, max, count)) in sums {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO rollup VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![bucket, key_of(entity), metric.code(), at, sum, min, max, count])?;
    }
    transaction.execute("INSERT OR REPLACE INTO rolled VALUES (?1, ?2)", [bucket, until])?;
    transaction.commit()
}

/// Where rolling goes on: after the last bucket, or at the first sample there is.
fn rolled_until(connection: &Connection, resolution: Resolution) -> rusqlite::Result<Option<i64>> {
    let bucket = bucket_ms(resolution);
    let known: Option<i64> = connection
        .query_row("SELECT until FROM rolled WHERE bucket = ?1", [bucket], |row| row.get(0))
        .optional()?;
    if known.is_some() {
        return Ok(known);
    }
    let first: Option<i64> =
        connection.query_row("SELECT min(at) FROM sample", [], |row| row.get(0))?;
    Ok(first.map(|at| at.div_euclid(bucket) * bucket))
}

/// Drops the oldest full-rate samples, an hour at a time, until the rows fit.
fn bound_size(connection: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    loop {
        let used: i64 = connection.query_row(
            "SELECT (page_count - freelist_count) * page_size
             FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()",
            [],
            |row| row.get(0),
        )?;
        let first: Option<i64> =
            connection.query_row("SELECT min(at) FROM sample", [], |row| row.get(0))?;
        let (Some(first), true) = (first, u64::try_from(used).unwrap_or(0) > max_bytes) else {
            return Ok(());
        };
        connection.execute("DELETE FROM sample WHERE at < ?1", [first + 3_600_000])?;
    }
}

pub(super) fn series(
    connection: &Connection,
    entity: Entity,
    metric: Metric,
    from: Timestamp,
    to: Timestamp,
    resolution: Resolution,
) -> rusqlite::Result<Vec<SeriesPoint>> {
    let bucket = bucket_ms(resolution);
    let first = from.as_millis().div_euclid(bucket) * bucket;
    let mut select = connection.prepare_cached(
        "SELECT at, sum, min, max, count FROM rollup
         WHERE bucket = ?1 AND entity = ?2 AND metric = ?3 AND at BETWEEN ?4 AND ?5 ORDER BY at",
    )?;
    let mut points = select
        .query_map(params![bucket, key_of(entity), metric.code(), first, to.as_millis()], |row| {
            let (sum, count): (f64, u32) = (row.get(1)?, row.get(4)?);
            Ok(SeriesPoint {
                at: Timestamp::from_millis(row.get(0)?),
                mean: sum / f64::from(count.max(1)),
                min: row.get(2)?,
                max: row.get(3)?,
                count,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let until = rolled_until(connection, resolution)?.unwrap_or(i64::MIN);
    let rest = Timestamp::from_millis(until.max(from.as_millis()));
    let fresh = full_series(connection, entity, metric, rest, to)?;
    points.extend(drover_ports::memory::roll_up(
        fresh.into_iter().map(|point| (point.at, point.mean)),
        resolution,
    ));
    Ok(points)
}
