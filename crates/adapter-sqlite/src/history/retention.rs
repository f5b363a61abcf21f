//! What goes: by age, and beyond the size.

use std::time::Duration;

use drover_model::Timestamp;
use drover_ports::{Resolution, Retention};
use rusqlite::{Connection, params};

use super::marks::{Mark, code};
use super::{rollup, samples};

/// Full-rate samples of this long are kept whatever their size.
const NEWEST: Duration = Duration::from_secs(3600);
/// What goes at once beyond the size, by resolution.
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// Before everything.
const BEGINNING: Timestamp = Timestamp::from_millis(i64::MIN);
/// Pages given back to the file system at once.
const VACUUM_PAGES: i64 = 2000;

/// Drops what is too old, then the oldest if it takes too much room; whether more has to go.
pub(super) fn turn(
    connection: &Connection,
    now: Timestamp,
    retention: Retention,
) -> rusqlite::Result<bool> {
    let rolled = |resolution| Mark::RolledUntil(resolution).get(connection);
    // Whole hours: a late sample must find all of its bucket. And nothing goes before it
    // is rolled up.
    let hours = rolled(Resolution::Hour)?;
    let safe = hours.min(rolled(Resolution::FiveMinutes)?);
    let begin = |kept| Resolution::Hour.start_of(now.minus(kept));
    drop_samples(connection, begin(retention.full).min(safe))?;
    drop_rollups(connection, Resolution::FiveMinutes, begin(retention.five_minutes).min(hours))?;
    drop_rollups(connection, Resolution::Hour, begin(retention.hour))?;
    forget_entities(connection)?;
    if used_bytes(connection)? <= retention.max_bytes {
        return Ok(false);
    }
    if let Some(first) = samples::first(connection)? {
        let end = Resolution::Hour.start_of(first.plus(HOUR));
        if end <= begin(NEWEST).min(safe) {
            drop_samples(connection, end)?;
            return Ok(true);
        }
    }
    for (resolution, length) in [(Resolution::FiveMinutes, DAY), (Resolution::Hour, MONTH)] {
        if let Some(first) = rollup::first_from(connection, resolution, BEGINNING)? {
            let end = first.plus(length).min(hours);
            if first < end {
                drop_rollups(connection, resolution, end)?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Gives room back to the file system.
pub(super) fn vacuum(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))
}

fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let used: i64 = connection.query_row(
        "SELECT (page_count - freelist_count) * page_size
         FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()",
        [],
        |row| row.get(0),
    )?;
    Ok(u64::try_from(used).unwrap_or(0))
}

fn drop_samples(connection: &Connection, before: Timestamp) -> rusqlite::Result<()> {
    if before <= Mark::FullBegins.get(connection)? {
        return Ok(());
    }
    Mark::FullBegins.raise(connection, before)?;
    samples::drop_before(connection, before)
}

fn drop_rollups(
    connection: &Connection,
    resolution: Resolution,
    before: Timestamp,
) -> rusqlite::Result<()> {
    for entity in samples::all(connection)? {
        connection
            .prepare_cached("DELETE FROM rollup WHERE bucket = ?1 AND entity = ?2 AND at < ?3")?
            .execute(params![code(resolution), entity, before.as_millis()])?;
    }
    Ok(())
}

/// Of entities that are long gone nothing stays.
fn forget_entities(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM entity WHERE NOT EXISTS (SELECT 1 FROM block WHERE entity = id)
             AND id NOT IN (SELECT entity FROM recent)
             AND NOT EXISTS (SELECT 1 FROM rollup WHERE bucket = ?1 AND entity = id)
             AND NOT EXISTS (SELECT 1 FROM rollup WHERE bucket = ?2 AND entity = id)",
        )?
        .execute([code(Resolution::FiveMinutes), code(Resolution::Hour)])?;
    Ok(())
}
