//! The store port: one table of keys, one row of the last generation.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use drover_ports::memory::check_limits;
use drover_ports::{Change, Expected, Generation, Store, StoreError, Versioned, WatchEvent};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior, params};
use tokio::sync::broadcast;

use crate::OpenError;
use crate::file::{Schema, open};
use crate::worker::{Worker, WorkerGone};

const SCHEMA: Schema = Schema {
    kind: "store",
    // "Drov"
    application_id: 0x4472_6f76,
    // A commit that was acknowledged survives a power loss: the owner of a guest is in it.
    synchronous: "FULL",
    migrations: &["
        CREATE TABLE entry (
            key TEXT PRIMARY KEY,
            generation INTEGER NOT NULL,
            value BLOB NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE counter (only INTEGER PRIMARY KEY CHECK (only = 1), generation INTEGER NOT NULL);
        INSERT INTO counter VALUES (1, 0);
    "],
};

/// Commits that a slow watcher may be behind.
const WATCH_BACKLOG: usize = 1024;

/// The store on one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Worker,
    reader: Worker,
    bus: broadcast::Sender<WatchEvent>,
}

impl SqliteStore {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let start = |name| {
            let connection = open(path, &SCHEMA)?;
            Worker::start(name, connection).map_err(|cause| OpenError::Sqlite {
                path: path.display().to_string(),
                cause: rusqlite::Error::ToSqlConversionFailure(Box::new(cause)),
            })
        };
        let (bus, _) = broadcast::channel(WATCH_BACKLOG);
        Ok(Self { writer: start("store-write")?, reader: start("store-read")?, bus })
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader.run(job).await?.map_err(|error| translate(&error))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let key = key.to_owned();
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT generation, value FROM entry WHERE key = ?1")?
                .query_row([key], |row| versioned(row, 0))
                .optional()
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError> {
        let prefix = prefix.to_owned();
        let sql =
            "SELECT key, generation, value FROM entry WHERE key >= ?1 AND key < ?2 ORDER BY key";
        self.read(move |connection| {
            connection
                .prepare_cached(sql)?
                .query_map(params![prefix, after(&prefix)], row_of)?
                .collect()
        })
        .await
    }

    async fn list_last(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let prefix = prefix.to_owned();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT key, generation, value FROM entry WHERE key >= ?1 AND key < ?2
                   ORDER BY key DESC LIMIT ?3";
        self.read(move |connection| {
            connection
                .prepare_cached(sql)?
                .query_map(params![prefix, after(&prefix), limit], row_of)?
                .collect()
        })
        .await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Generation, StoreError> {
        check_limits(&changes)?;
        let bus = self.bus.clone();
        self.writer
            .run(move |connection| {
                let generation = write(connection, &changes)?;
                // On the writer's thread, so watchers see commits in their order.
                for change in changes {
                    let event = WatchEvent { key: change.key, generation, value: change.value };
                    let _ = bus.send(event);
                }
                Ok(generation)
            })
            .await?
    }

    fn watch(&self) -> broadcast::Receiver<WatchEvent> {
        self.bus.subscribe()
    }
}

fn write(connection: &mut Connection, changes: &[Change]) -> Result<Generation, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| translate(&error))?;
    let generation = apply(&transaction, changes)?;
    transaction.commit().map_err(|error| translate(&error))?;
    Ok(generation)
}

fn apply(connection: &Connection, changes: &[Change]) -> Result<Generation, StoreError> {
    let failed = |error: rusqlite::Error| translate(&error);
    let next: i64 = connection
        .prepare_cached("UPDATE counter SET generation = generation + 1 RETURNING generation")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed)?;
    for change in changes {
        let found: Option<i64> = connection
            .prepare_cached("SELECT generation FROM entry WHERE key = ?1")
            .and_then(|mut s| s.query_row([&change.key], |row| row.get(0)).optional())
            .map_err(failed)?;
        let holds = match change.expected {
            Expected::Any => true,
            Expected::Absent => found.is_none(),
            Expected::At(at) => found == i64::try_from(at.0).ok(),
        };
        if !holds {
            return Err(StoreError::Conflict { key: change.key.clone() });
        }
        match &change.value {
            Some(value) => connection
                .prepare_cached("INSERT OR REPLACE INTO entry VALUES (?1, ?2, ?3)")
                .and_then(|mut s| s.execute(params![change.key, next, value.as_ref()])),
            None => connection
                .prepare_cached("DELETE FROM entry WHERE key = ?1")
                .and_then(|mut s| s.execute([&change.key])),
        }
        .map_err(failed)?;
    }
    Ok(Generation(u64::try_from(next).unwrap_or_default()))
}

/// The first text after all that begin with `prefix`: SQLite compares TEXT as bytes, and
/// U+10FFFF is the last character there is.
fn after(prefix: &str) -> String {
    format!("{prefix}\u{10FFFF}")
}

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, Versioned)> {
    Ok((row.get(0)?, versioned(row, 1)?))
}

fn versioned(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Versioned> {
    let generation: i64 = row.get(first)?;
    let value: Vec<u8> = row.get(first + 1)?;
    Ok(Versioned {
        generation: Generation(u64::try_from(generation).unwrap_or_default()),
        value: Bytes::from(value),
    })
}

fn translate(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Retry(error.to_string())
        }
        _ => StoreError::Broken(error.to_string()),
    }
}

impl From<WorkerGone> for StoreError {
    fn from(_: WorkerGone) -> Self {
        Self::Broken("the database thread has ended".to_owned())
    }
}
