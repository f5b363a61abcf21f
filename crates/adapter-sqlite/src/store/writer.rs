//! The one thread that commits.
//!
//! A commit costs one wait for the disk, so commits that queue up meanwhile share the
//! next one: all go into one transaction. Each is still all or nothing: its conditions
//! are checked before its first write, so a conflict leaves nothing to undo, and an error
//! of SQLite's takes the whole transaction back. Nobody gets an answer, not even a
//! conflict, before the transaction it was decided in is on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use drover_ports::{Change, Expected, Generation, StoreError, WatchEvent};
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior, params};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::translate;
use crate::worker::Queue;

/// Most commits that share a transaction: the first waits for the last.
const MAX_GROUP: usize = 64;
/// No further commit joins a transaction of more bytes than this, for the same reason.
const MAX_GROUP_BYTES: usize = 1 << 20;
/// From so many pages on, the log is copied into the database, 4 MiB at SQLite's 4 KiB.
const CHECKPOINT_PAGES: i32 = 1000;
/// Beyond so many pages commits wait for the copying: the log must not grow for ever.
const MAX_LOG_PAGES: i32 = 64 * 1000;

/// A commit in line.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) changes: Vec<Change>,
    pub(super) answer: oneshot::Sender<Result<Generation, StoreError>>,
}

/// What came of one commit of a group.
enum Outcome {
    Written(Generation, Vec<WatchEvent>),
    Conflict(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    connection: Connection,
    bus: broadcast::Sender<WatchEvent>,
    /// Pages in the log after the last commit.
    log: Arc<AtomicI32>,
    /// The disk failed; what it said.
    broken: Option<String>,
}

impl Writer {
    /// Takes the connection that writes. Checkpoints are left to those who listen on
    /// `checkpoints`: SQLite's own would make every thousandth page's commit wait.
    pub(super) fn new(
        mut connection: Connection,
        bus: broadcast::Sender<WatchEvent>,
        checkpoints: Option<mpsc::Sender<()>>,
    ) -> rusqlite::Result<Self> {
        let log = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&log);
        connection.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            seen.store(pages, Ordering::Relaxed);
            if let Some(line) = checkpoints.as_ref().filter(|_| pages >= CHECKPOINT_PAGES) {
                // When the line is full it has been told often enough.
                let _ = line.try_send(());
            }
            Ok(())
        }))?;
        Ok(Self { connection, bus, log, broken: None })
    }

    /// Commits until the line ends.
    pub(super) fn serve(mut self, queue: &Queue<Pending>) {
        while let Some(first) = queue.next() {
            let mut bytes = size(&first);
            let mut group = vec![first];
            while group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
                let Some(next) = queue.try_next() else { break };
                bytes += size(&next);
                group.push(next);
            }
            self.carry_out(group);
            self.bound_log();
        }
    }

    fn carry_out(&mut self, group: Vec<Pending>) {
        if let Some(broken) = &self.broken {
            for pending in group {
                let _ = pending.answer.send(Err(StoreError::Broken(broken.clone())));
            }
            return;
        }
        match write(&mut self.connection, &group) {
            Ok(outcomes) => {
                for (pending, outcome) in group.into_iter().zip(outcomes) {
                    let answer = match outcome {
                        Outcome::Written(generation, events) => {
                            for event in events {
                                // Nobody watching is no error.
                                let _ = self.bus.send(event);
                            }
                            Ok(generation)
                        }
                        Outcome::Conflict(key) => Err(StoreError::Conflict { key }),
                    };
                    // A caller that no longer waits is no error either.
                    let _ = pending.answer.send(answer);
                }
            }
            Err(error) => {
                self.note(&error);
                for pending in group {
                    let _ = pending.answer.send(Err(translate(&error)));
                }
            }
        }
    }

    /// Remembers an error after which the file cannot be trusted.
    fn note(&mut self, error: &rusqlite::Error) {
        if matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) {
            self.broken = Some(format!("{error}; restart droverd when the disk is well again"));
        }
    }

    /// Copies the log itself if the other thread does not get done beside the commits.
    fn bound_log(&mut self) {
        if self.log.load(Ordering::Relaxed) >= MAX_LOG_PAGES
            && let Err(error) = copy_log(&self.connection)
        {
            self.note(&error);
        }
    }
}

/// Copies the log into the database whenever told to, beside the commits.
pub(super) fn checkpoint(connection: Connection, queue: &Queue<()>) {
    while queue.next().is_some() {
        while queue.try_next().is_some() {}
        // Should the disk fail here, the log grows until the writer sees it, too.
        let _ = copy_log(&connection);
    }
}

/// As much as no reader needs and without making anyone wait. The next commit after all
/// was copied begins the log anew.
fn copy_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

fn size(pending: &Pending) -> usize {
    let value = |change: &Change| change.value.as_ref().map_or(0, bytes::Bytes::len);
    pending.changes.iter().map(|change| change.key.len() + value(change)).sum()
}

fn write(connection: &mut Connection, group: &[Pending]) -> rusqlite::Result<Vec<Outcome>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before: i64 = transaction
        .prepare_cached("SELECT generation FROM counter")?
        .query_row([], |row| row.get(0))?;
    let mut last = before;
    let mut outcomes = Vec::with_capacity(group.len());
    for pending in group {
        let outcome = apply(&transaction, last + 1, &pending.changes)?;
        if matches!(outcome, Outcome::Written(..)) {
            last += 1;
        }
        outcomes.push(outcome);
    }
    if last > before {
        transaction.prepare_cached("UPDATE counter SET generation = ?1")?.execute([last])?;
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn apply(
    connection: &Connection,
    generation: i64,
    changes: &[Change],
) -> rusqlite::Result<Outcome> {
    let mut select = connection.prepare_cached("SELECT generation FROM entry WHERE key = ?1")?;
    let mut present = Vec::with_capacity(changes.len());
    for change in changes {
        let found: Option<i64> = select.query_row([&change.key], |row| row.get(0)).optional()?;
        let holds = match change.expected {
            Expected::Any => true,
            Expected::Absent => found.is_none(),
            Expected::At(at) => found.is_some() && found == i64::try_from(at.0).ok(),
        };
        if !holds {
            return Ok(Outcome::Conflict(change.key.clone()));
        }
        present.push(found.is_some());
    }
    let written = Generation(u64::try_from(generation).unwrap_or_default());
    let mut events = Vec::with_capacity(changes.len());
    for (change, present) in changes.iter().zip(present) {
        match &change.value {
            Some(value) => {
                connection
                    .prepare_cached("INSERT OR REPLACE INTO entry VALUES (?1, ?2, ?3)")?
                    .execute(params![change.key, generation, value.as_ref()])?;
            }
            None if present => {
                connection
                    .prepare_cached("DELETE FROM entry WHERE key = ?1")?
                    .execute([&change.key])?;
            }
            None => continue,
        }
        events.push(WatchEvent {
            key: change.key.clone(),
            generation: written,
            value: change.value.clone(),
        });
    }
    Ok(Outcome::Written(written, events))
}
