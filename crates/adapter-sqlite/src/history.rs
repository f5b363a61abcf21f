//! The history port: samples as small blobs, rollups as rows.
//!
//! A sample is one row (entity, moment, blob of metric code and value): nine bytes a
//! value. A crash may lose the last seconds; agents send again what was not acknowledged.

mod codec;
mod rollup;

use std::path::Path;

use async_trait::async_trait;
use drover_model::{Metric, Timestamp};
use drover_ports::memory::roll_up;
use drover_ports::{
    Entity, History, HistoryError, MAX_SERIES_POINTS, Resolution, Retention, SamplePoint,
    SeriesPoint,
};
use rusqlite::{Connection, ErrorCode, params};

use crate::OpenError;
use crate::file::{Schema, open};
use crate::worker::{Worker, WorkerGone};

use codec::{decode, encode, entity_of, key_of};

const SCHEMA: Schema = Schema {
    kind: "metric history",
    // "DrHi"
    application_id: 0x4472_4869,
    synchronous: "NORMAL",
    migrations: &["
        CREATE TABLE sample (
            entity BLOB NOT NULL, at INTEGER NOT NULL, vals BLOB NOT NULL,
            PRIMARY KEY (at, entity)
        ) WITHOUT ROWID;
        CREATE INDEX sample_of ON sample (entity, at);
        CREATE TABLE rollup (
            bucket INTEGER NOT NULL, entity BLOB NOT NULL, metric INTEGER NOT NULL,
            at INTEGER NOT NULL, sum REAL NOT NULL, min REAL NOT NULL, max REAL NOT NULL,
            count INTEGER NOT NULL,
            PRIMARY KEY (bucket, entity, metric, at)
        ) WITHOUT ROWID;
        CREATE TABLE rolled (bucket INTEGER PRIMARY KEY, until INTEGER NOT NULL);
    "],
};

/// The history on one SQLite file.
#[derive(Debug)]
pub struct SqliteHistory {
    writer: Worker,
    reader: Worker,
}

impl SqliteHistory {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let start = |name| {
            let connection = open(path, &SCHEMA)?;
            Worker::start(name, connection).map_err(|cause| OpenError::Sqlite {
                path: path.display().to_string(),
                cause: rusqlite::Error::ToSqlConversionFailure(Box::new(cause)),
            })
        };
        Ok(Self { writer: start("history-write")?, reader: start("history-read")? })
    }
}

#[async_trait]
impl History for SqliteHistory {
    async fn append(&self, points: Vec<SamplePoint>) -> Result<(), HistoryError> {
        self.writer
            .run(move |connection| append(connection, &points))
            .await?
            .map_err(|error| translate(&error))
    }

    async fn window(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SamplePoint>, HistoryError> {
        self.reader
            .run(move |connection| window(connection, from, to))
            .await?
            .map_err(|error| translate(&error))
    }

    async fn series(
        &self,
        entity: Entity,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        resolution: Resolution,
    ) -> Result<Vec<SeriesPoint>, HistoryError> {
        self.reader
            .run(move |connection| {
                let mut points = match resolution {
                    Resolution::Full => full_series(connection, entity, metric, from, to)?,
                    _ => rollup::series(connection, entity, metric, from, to, resolution)?,
                };
                let surplus = points.len().saturating_sub(MAX_SERIES_POINTS);
                points.drain(..surplus);
                Ok(points)
            })
            .await?
            .map_err(|error: rusqlite::Error| translate(&error))
    }

    async fn compact(&self, now: Timestamp, retention: Retention) -> Result<(), HistoryError> {
        self.writer
            .run(move |connection| rollup::compact(connection, now, retention))
            .await?
            .map_err(|error| translate(&error))
    }
}

fn append(connection: &mut Connection, points: &[SamplePoint]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert =
            transaction.prepare_cached("INSERT OR REPLACE INTO sample VALUES (?1, ?2, ?3)")?;
        for point in points {
            let at = point.at.as_millis();
            insert.execute(params![key_of(point.entity), at, encode(&point.values)])?;
        }
    }
    transaction.commit()
}

fn window(
    connection: &mut Connection,
    from: Timestamp,
    to: Timestamp,
) -> rusqlite::Result<Vec<SamplePoint>> {
    let mut select = connection
        .prepare_cached("SELECT entity, at, vals FROM sample WHERE at BETWEEN ?1 AND ?2")?;
    let rows = select.query_map([from.as_millis(), to.as_millis()], |row| {
        let key: Vec<u8> = row.get(0)?;
        let blob: Vec<u8> = row.get(2)?;
        Ok((key, row.get::<_, i64>(1)?, blob))
    })?;
    let mut points = Vec::new();
    for row in rows {
        let (key, at, blob) = row?;
        if let Some(entity) = entity_of(&key) {
            let at = Timestamp::from_millis(at);
            points.push(SamplePoint { entity, at, values: decode(&blob) });
        }
    }
    points.sort_by_key(|point| (point.entity, point.at));
    Ok(points)
}

fn full_series(
    connection: &Connection,
    entity: Entity,
    metric: Metric,
    from: Timestamp,
    to: Timestamp,
) -> rusqlite::Result<Vec<SeriesPoint>> {
    let mut select = connection.prepare_cached(
        "SELECT at, vals FROM sample WHERE entity = ?1 AND at BETWEEN ?2 AND ?3 ORDER BY at",
    )?;
    let rows = select
        .query_map(params![key_of(entity), from.as_millis(), to.as_millis()], |row| {
            let blob: Vec<u8> = row.get(1)?;
            Ok((row.get::<_, i64>(0)?, blob))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let samples = rows.into_iter().filter_map(|(at, blob)| {
        let value = decode(&blob).into_iter().find(|(name, _)| *name == metric)?.1;
        Some((Timestamp::from_millis(at), value))
    });
    Ok(roll_up(samples, Resolution::Full))
}

fn translate(error: &rusqlite::Error) -> HistoryError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            HistoryError::Retry(error.to_string())
        }
        _ => HistoryError::Broken(error.to_string()),
    }
}

impl From<WorkerGone> for HistoryError {
    fn from(_: WorkerGone) -> Self {
        Self::Broken("the database thread has ended".to_owned())
    }
}
