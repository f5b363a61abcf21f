//! The store port: one table of keys, one row of the last generation.
//!
//! Commits take their turn on one thread, reads on others with connections of their own:
//! in WAL mode neither waits for the other.

mod writer;

use std::fs::File;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use drover_ports::memory::check_limits;
use drover_ports::{Change, Generation, Store, StoreError, Versioned, WatchEvent};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params_from_iter};
use tokio::sync::{broadcast, oneshot};

use crate::OpenError;
use crate::file::{Database, Schema};
use crate::worker::{Line, Worker, WorkerGone};

use writer::{Pending, Writer};

static SCHEMA: Schema = Schema {
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

/// Events that a slow watcher may be behind.
const WATCH_BACKLOG: usize = 1024;
/// Two, so that one long list does not hold up every other read.
const READERS: usize = 2;

/// The store on one SQLite file. An acknowledged commit survives a power loss.
///
/// After an error of the disk every further commit is refused as broken until the file is
/// opened again: what the disk then holds is not known, and a guest's owner is in it.
#[derive(Debug)]
pub struct SqliteStore {
    // In this order: the writer's end is what ends the checkpoints, and the lock goes last.
    writer: Line<Pending>,
    _checkpoints: Line<()>,
    readers: Worker<Connection>,
    bus: broadcast::Sender<WatchEvent>,
    _lock: File,
}

impl SqliteStore {
    /// Opens or creates the file; only one process can.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (database, connection) = Database::open(path, &SCHEMA)?;
        let (bus, _) = broadcast::channel(WATCH_BACKLOG);
        let system = |cause| database.system(cause);
        let checkpoints =
            Line::start("store-checkpoint", vec![database.connect()?], writer::checkpoint)
                .map_err(system)?;
        let writer = Writer::new(connection, bus.clone(), checkpoints.entrance())
            .map_err(|cause| database.sqlite(cause))?;
        let writer = Line::start("store-write", vec![writer], Writer::serve).map_err(system)?;
        let readers = Worker::start("store-read", database.readers(READERS)?).map_err(system)?;
        Ok(Self { writer, _checkpoints: checkpoints, readers, bus, _lock: database.into_lock() })
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.run(job).await?.map_err(|error| translate(&error))
    }

    async fn range(
        &self,
        prefix: &str,
        order: &'static str,
        limit: i64,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let mut bounds = vec![prefix.to_owned()];
        bounds.extend(first_beyond(prefix));
        let below = if bounds.len() == 2 { "AND key < ?2" } else { "" };
        let sql = format!(
            "SELECT key, generation, value FROM entry WHERE key >= ?1 {below}
             ORDER BY key {order} LIMIT {limit}"
        );
        self.read(move |connection| {
            let mut select = connection.prepare_cached(&sql)?;
            select
                .query_map(params_from_iter(bounds), |row| Ok((row.get(0)?, versioned(row, 1)?)))?
                .collect()
        })
        .await
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
        self.range(prefix, "ASC", -1).await
    }

    async fn list_last(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.range(prefix, "DESC", i64::try_from(limit).unwrap_or(i64::MAX)).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Generation, StoreError> {
        check_limits(&changes)?;
        let (answer, waiting) = oneshot::channel();
        self.writer.send(Pending { changes, answer }).await?;
        waiting.await.map_err(|_| StoreError::from(WorkerGone))?
    }

    fn watch(&self) -> broadcast::Receiver<WatchEvent> {
        self.bus.subscribe()
    }
}

/// The least text that is greater than all that begin with `prefix`; none if there is no
/// such text. SQLite compares TEXT by its bytes, and UTF-8 keeps the order of characters.
fn first_beyond(prefix: &str) -> Option<String> {
    let mut rest = prefix.to_owned();
    while let Some(last) = rest.pop() {
        // Between these two there are no characters.
        let next =
            if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            rest.push(next);
            return Some(rest);
        }
    }
    None
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
