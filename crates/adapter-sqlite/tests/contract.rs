//! SQLite keeps the contracts of both ports, and what it acknowledged survives.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use drover_adapter_sqlite::{OpenError, SqliteHistory, SqliteStore};
use drover_ports::{Change, Expected, History, Store, contract};
use tempfile::TempDir;

/// A new file in a directory that lives as long as the test.
struct Files(TempDir, AtomicU32);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), AtomicU32::new(0))
    }

    fn next(&self) -> PathBuf {
        self.0.path().join(format!("{}.db", self.1.fetch_add(1, Ordering::SeqCst)))
    }
}

#[tokio::test]
async fn the_store_keeps_the_contract() {
    let files = Files::new();
    contract::store::run(async || {
        Arc::new(SqliteStore::open(&files.next()).unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn the_history_keeps_the_contract() {
    let files = Files::new();
    contract::history::run(async || {
        Arc::new(SqliteHistory::open(&files.next()).unwrap()) as Arc<dyn History>
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let files = Files::new();
    let path = files.next();
    let store = SqliteStore::open(&path).unwrap();
    let generation = store.commit(vec![Change::put("a", Expected::Absent, "1")]).await.unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().generation, generation);
    let next = store.commit(vec![Change::put("b", Expected::Absent, "1")]).await.unwrap();
    assert!(next > generation, "generations go on where they were");
}

#[test]
fn foreign_and_newer_files_are_refused() {
    let files = Files::new();
    let foreign = files.next();
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection.execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(SqliteStore::open(&foreign), Err(OpenError::Foreign { .. })));
    let newer = files.next();
    drop(SqliteStore::open(&newer).unwrap());
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteStore::open(&newer), Err(OpenError::Newer { found: 99, .. })));
    assert!(matches!(SqliteHistory::open(&newer), Err(OpenError::Foreign { .. })));
}
