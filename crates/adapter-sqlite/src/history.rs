//! The history port: recent samples by time, older ones in blocks by entity, rollups of
//! all metrics of a bucket in one.
//!
//! What comes in is written densely, and what rules read, the last minutes of everyone, is
//! one range. When a bucket of five minutes is complete, its samples become one block of
//! each entity: a series is one range, too. A crash may lose the last seconds; agents send
//! again what was not acknowledged.

mod blocks;
mod codec;
mod marks;
mod retention;
mod rollup;
mod samples;

use std::fs::File;
use std::path::Path;

use async_trait::async_trait;
use drover_model::{Metric, Timestamp};
use drover_ports::memory::roll_up;
use drover_ports::{
    Entity, History, HistoryError, MAX_SERIES_POINTS, Resolution, Retention, SamplePoint,
    SeriesPoint,
};
use rusqlite::{Connection, ErrorCode};

use crate::OpenError;
use crate::file::{Database, Schema};
use crate::worker::{Worker, WorkerGone};

static SCHEMA: Schema = Schema {
    kind: "metric history",
    // "DrHi"
    application_id: 0x4472_4869,
    synchronous: "NORMAL",
    migrations: &["
        CREATE TABLE entity (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);
        CREATE TABLE recent (
            at INTEGER NOT NULL, entity INTEGER NOT NULL, vals BLOB NOT NULL,
            PRIMARY KEY (at, entity)
        ) WITHOUT ROWID;
        CREATE TABLE block (
            entity INTEGER NOT NULL, at INTEGER NOT NULL, samples BLOB NOT NULL,
            PRIMARY KEY (entity, at)
        ) WITHOUT ROWID;
        CREATE TABLE rollup (
            bucket INTEGER NOT NULL, entity INTEGER NOT NULL, at INTEGER NOT NULL,
            vals BLOB NOT NULL,
            PRIMARY KEY (bucket, entity, at)
        ) WITHOUT ROWID;
        CREATE TABLE stale (
            bucket INTEGER NOT NULL, entity INTEGER NOT NULL, at INTEGER NOT NULL,
            PRIMARY KEY (bucket, entity, at)
        ) WITHOUT ROWID;
        CREATE TABLE mark (name TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
    "],
};

/// The history on one SQLite file.
#[derive(Debug)]
pub struct SqliteHistory {
    writer: Worker<Connection>,
    reader: Worker<Connection>,
    _lock: File,
}

impl SqliteHistory {
    /// Opens or creates the file; only one process can.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (database, connection) = Database::open(path, &SCHEMA)?;
        let system = |cause| database.system(cause);
        let writer = Worker::start("history-write", vec![connection]).map_err(system)?;
        let reader = Worker::start("history-read", database.readers(1)?).map_err(system)?;
        Ok(Self { writer, reader, _lock: database.into_lock() })
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let done = self.writer.run(move |connection| {
            let transaction = connection.transaction()?;
            let done = job(&transaction)?;
            transaction.commit()?;
            Ok(done)
        });
        done.await?.map_err(|error: rusqlite::Error| translate(&error))
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        // A transaction, so that all that is read is of one moment.
        let found = self.reader.run(move |connection| job(&*connection.transaction()?));
        found.await?.map_err(|error| translate(&error))
    }
}

#[async_trait]
impl History for SqliteHistory {
    async fn append(&self, points: Vec<SamplePoint>) -> Result<(), HistoryError> {
        self.write(move |connection| samples::append(connection, points)).await
    }

    async fn window(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SamplePoint>, HistoryError> {
        self.read(move |connection| samples::window(connection, from, to)).await
    }

    async fn series(
        &self,
        entity: Entity,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        resolution: Resolution,
    ) -> Result<Vec<SeriesPoint>, HistoryError> {
        self.read(move |connection| {
            let Some(id) = samples::known(connection, entity)? else { return Ok(Vec::new()) };
            let mut points = match resolution {
                Resolution::Full => {
                    roll_up(samples::of(connection, id, metric, from, to)?.into_iter(), resolution)
                }
                _ => rollup::series(connection, id, metric, (from, to), resolution)?,
            };
            let surplus = points.len().saturating_sub(MAX_SERIES_POINTS);
            points.drain(..surplus);
            Ok(points)
        })
        .await
    }

    async fn compact(&self, now: Timestamp, retention: Retention) -> Result<(), HistoryError> {
        // In turns: appending does not wait for a long backlog.
        while self.write(move |connection| rollup::turn(connection, now)).await? {}
        while self.write(move |connection| retention::turn(connection, now, retention)).await? {}
        let vacuum = self.writer.run(|connection| retention::vacuum(connection));
        vacuum.await?.map_err(|error| translate(&error))
    }
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
