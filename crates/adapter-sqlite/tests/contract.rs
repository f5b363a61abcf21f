//! SQLite keeps the contracts of both ports, and what it acknowledged survives.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use drover_adapter_sqlite::{OpenError, SqliteHistory, SqliteStore};
use drover_ports::contract::history::{Step, rollups_agree_with_recomputation};
use drover_ports::{Change, Expected, History, Store, contract};
use proptest::prelude::*;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_the_contract() {
    let files = Files::new();
    contract::store::run(async || {
        Arc::new(SqliteStore::open(&files.next()).unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
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
fn the_files_of_one_port_are_refused_by_the_other() {
    let files = Files::new();
    let path = files.next();
    drop(SqliteStore::open(&path).unwrap());
    assert!(matches!(SqliteHistory::open(&path), Err(OpenError::Foreign { .. })));
}

fn step() -> impl Strategy<Value = Step> {
    let moment = 0..7_200_000_u32;
    prop_oneof![
        20 => (0..3_u8, moment.clone(), -1e12..1e12).prop_map(|(e, at, v)| Step::Sample(e, at, v)),
        1 => moment.prop_map(Step::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn invariant_rollups_agree_with_recomputation(
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let files = Files::new();
        let history = Arc::new(SqliteHistory::open(&files.next()).unwrap());
        let kept = runtime.block_on(rollups_agree_with_recomputation(history, &steps));
        prop_assert!(kept.is_ok(), "{}", kept.unwrap_err());
    }
}
