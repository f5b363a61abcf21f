//! Resolutions and how far work on them has come.

use drover_model::Timestamp;
use drover_ports::Resolution;
use rusqlite::{Connection, OptionalExtension as _, params};

/// A moment that only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The full rate begins here; earlier samples are gone.
    FullBegins,
    /// Buckets that start before this are rolled up.
    RolledUntil(Resolution),
}

impl Mark {
    fn name(self) -> &'static str {
        match self {
            Self::FullBegins => "full-begins",
            Self::RolledUntil(Resolution::Full) => "samples",
            Self::RolledUntil(Resolution::FiveMinutes) => "five-minutes-until",
            Self::RolledUntil(Resolution::Hour) => "hours-until",
        }
    }

    /// The least moment there is if it was never set.
    pub(super) fn get(self, connection: &Connection) -> rusqlite::Result<Timestamp> {
        let at = connection
            .prepare_cached("SELECT at FROM mark WHERE name = ?1")?
            .query_row([self.name()], |row| row.get(0))
            .optional()?;
        Ok(Timestamp::from_millis(at.unwrap_or(i64::MIN)))
    }

    /// Moves it forward.
    pub(super) fn raise(self, connection: &Connection, at: Timestamp) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO mark VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)",
            )?
            .execute(params![self.name(), at.as_millis()])?;
        Ok(())
    }
}

/// An entity's number in this file.
pub(super) type EntityId = i64;

/// The finer first: hours are made of what is finer.
pub(super) const ROLLED: [Resolution; 2] = [Resolution::FiveMinutes, Resolution::Hour];

/// What SQLite knows a resolution by.
pub(super) fn code(resolution: Resolution) -> i64 {
    i64::try_from(resolution.bucket().as_secs()).unwrap_or(i64::MAX)
}

/// Notes that a bucket has to be computed again.
pub(super) fn outdate(
    connection: &Connection,
    resolution: Resolution,
    entity: EntityId,
    at: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO stale VALUES (?1, ?2, ?3)")?
        .execute(params![code(resolution), entity, resolution.start_of(at).as_millis()])?;
    Ok(())
}

/// The last moment of the bucket that starts at `start`.
pub(super) fn last_of(resolution: Resolution, start: Timestamp) -> Timestamp {
    let length = i64::try_from(resolution.bucket().as_millis()).unwrap_or(i64::MAX).max(1);
    Timestamp::from_millis(start.as_millis().saturating_add(length - 1))
}
